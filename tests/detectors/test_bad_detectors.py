"""What can be wrong with a detector: one line that says what to do, the right exit status, never a wrong answer."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from tests.cli.conftest import RunCommand, write_photo
from tests.detectors.fakes import FAKES
from tests.detectors.files import save, write_constants, write_detector, write_yolo
from tests.detectors.test_detect import YOLO, ultralytics
from tests.detectors.written import WRITERS, blank, known_detections
from tests.models import ExplainableModel, write_classifier

WRONG_USAGE = 2


def changed(name: str, change: Callable[[dict[str, np.ndarray]], None]) -> Callable[[Path], Path]:
    """A file of a layout whose outputs were changed."""

    def write(path: Path) -> Path:
        outputs, fake = blank(FAKES[name]), FAKES[name]
        for known in known_detections(name):
            WRITERS[name](outputs, fake, known)
        change(outputs)
        return write_constants(path, outputs, fake.size_hw)

    return write


def custom_operator(name: str) -> Callable[[Path], Path]:
    """YOLOv7's `--end2end` for TensorRT: its suppression is an operator that ONNX Runtime does not have."""

    def write(path: Path) -> Path:
        node = helper.make_node
        nodes = [
            node("Identity", ["images"], ["boxes"]),
            node(name, ["boxes"], ["num_dets", "det_boxes", "det_scores", "det_classes"], domain="TRT"),
        ]
        value = helper.make_tensor_value_info
        outputs = [value(each, TensorProto.FLOAT, [1, 100]) for each in nodes[1].output]
        return save(path, nodes, [value("images", TensorProto.FLOAT, [1, 3, 32, 32])], outputs, [], domains=["TRT"])

    return write


def with_a_mask_input(path: Path) -> Path:
    """DETR's `pixel_mask`: a second input whose meaning nobody states."""
    write_detector(path, "detr")
    model = onnx.load(path)
    model.graph.input.append(helper.make_tensor_value_info("pixel_mask", TensorProto.INT64, [1, 64, 64]))
    onnx.save(model, path)
    return path


def open_size(path: Path) -> Path:
    """Height and width are open, as in YuNet."""
    write_detector(path, "yunet")
    model = onnx.load(path)
    for axis, name in ((2, "height"), (3, "width")):
        model.graph.input[0].type.tensor_type.shape.dim[axis].dim_param = name
    onnx.save(model, path)
    return path


@dataclass(frozen=True)
class Case:
    """A file, the words after `predict MODEL IMAGE`, and what the one line on standard error says."""

    write: Callable[[Path], Path]
    words: tuple[str, ...]
    said: tuple[str, ...]
    status: int = WRONG_USAGE


REFUSED = {
    "EfficientNMS": Case(custom_operator("EfficientNMS_TRT"), (), ("EfficientNMS_TRT", "without --end2end")),
    "BatchedNMS": Case(custom_operator("BatchedNMS_TRT"), (), ("BatchedNMS_TRT", "raw boxes and scores")),
    "class 0 of classes from 1": Case(
        changed("tensorflow", lambda out: out["detection_classes:0"].fill(0)), (), ("class 0", "whole numbers from 1")
    ),
    "half a class": Case(
        changed("tensorflow", lambda out: out["detection_classes:0"].fill(3.5)), (), ("class 3.5", "whole numbers")
    ),
    "points among the classes": Case(
        changed("yolo-dense", lambda out: out["output0"][0, 50:, 9].fill(300)),
        ("--detector", "yolo-dense"),
        ("found scores from 0 to 300", "expected 0 to 1", "--detector"),
    ),
    "logits in place of scores": Case(
        changed("yolo-dense", lambda out: out["output0"][0, 4:].fill(-7)),
        ("--detector", "yolo-dense"),
        ("found scores from -7 to -7", "expected 0 to 1"),
    ),
    "too few labels": Case(lambda path: write_yolo(path, YOLO), ("--labels", "LABELS"), ("found 2", "80 classes")),
    "a layout that does not fit": Case(
        lambda path: write_yolo(path, YOLO), ("--detector", "yolox"), ("do not fit the layout yolox", "2100")
    ),
    "an unknown layout": Case(lambda path: write_yolo(path, YOLO), ("--detector", "yolov99"), ("yolov99", "yolox")),
    "two layouts that fit": Case(lambda path: write_detector(path, "detr"), (), ("detr, rt-detr", "--detector")),
    "boxes of no layout": Case(
        lambda path: write_constants(
            path, {"a": np.zeros((1, 77, 8), np.float32), "b": np.zeros((1, 77, 1), np.float32)}, (64, 64)
        ),
        (),
        ("no known layout", "yolo-dense", "torchvision", "--detector"),
    ),
    "metadata that promise a detector": Case(
        lambda path: write_constants(path, {"x": np.zeros((1, 10), np.float32)}, (64, 64), metadata=ultralytics()),
        (),
        ("no known layout", "yolo-dense", "end2end"),
    ),
    "a second input": Case(with_a_mask_input, ("--detector", "detr"), ("no value for input pixel_mask", "--input")),
    "an open size": Case(open_size, (), ("height", "--size")),
    "a size that does not fit": Case(open_size, ("--size", "160x160"), ("yunet", "1600", "400")),
    "a score above 1": Case(lambda path: write_yolo(path, YOLO), ("--min-score", "1.5"), ("--min-score", "1.5")),
    "a negative overlap": Case(lambda path: write_yolo(path, YOLO), ("--iou", "-1"), ("--iou", "-1")),
    "a threshold for classes": Case(write_classifier, ("--min-score", "0.5"), ("a model with classes", "--min-score")),
    "an overlap for classes": Case(write_classifier, ("--iou", "0.5"), ("a model with classes", "--iou")),
    "a head of a detector": Case(
        lambda path: write_detector(path, "ssd"),
        ("--detector", "ssd", "--head", "scores:classes"),
        ("scores", "ssd", "expected one of both"),
    ),
    "an explainable classifier as detector": Case(
        lambda path: ExplainableModel().write(path), ("--detector", "detr"), ("no layout of detectors", "expected detr")
    ),
    "a classifier as detector": Case(write_classifier, ("--detector", "detr"), ("do not fit the layout detr",)),
}  # fmt: skip


@pytest.mark.parametrize("name", REFUSED)
def test_refused_in_one_line(run: RunCommand, tmp_path: Path, name: str) -> None:
    case = REFUSED[name]
    path, photo, labels = case.write(tmp_path / "model.onnx"), write_photo(tmp_path / "a.png"), tmp_path / "names.txt"
    labels.write_text("ant\nbee\n")
    words = [str(labels) if word == "LABELS" else word for word in case.words]
    result = run("predict", path, photo, "--preset", "unit", "--resize", "letterbox", *words)
    assert result.exit_code == case.status, result.output
    assert result.stderr.count("\n") == 1
    assert result.stderr.startswith("onnxplain: ")
    for text in case.said:
        assert text in result.stderr


@dataclass(frozen=True)
class Odd:
    """A file that is read, the number of detections, and what the one warning says; empty: no warning."""

    write: Callable[[Path], Path]
    words: tuple[str, ...]
    detections: int
    warning: str = ""


ODD = {
    "nothing above the threshold": Odd(lambda path: write_yolo(path, YOLO), ("--min-score", "0.99"), 0),
    "scores that are not a number": Odd(
        changed("yolo-dense", lambda out: out["output0"][0, 4:, :5].fill(np.nan)),
        ("--detector", "yolo-dense"),
        2,
        "5 candidates were left out",
    ),
    "boxes that are not a number": Odd(
        changed("yolo-dense", lambda out: out["output0"][0, :4].fill(np.nan)),
        ("--detector", "yolo-dense"),
        0,
        "3 candidates were left out",
    ),
    "boxes turned inside out": Odd(
        changed("tensorflow", lambda out: out["detection_boxes:0"].__imul__(-1)), (), 0, "3 candidates were left out"
    ),
    "scores that round to zero": Odd(
        lambda path: write_yolo(path, YOLO, quantize=640 / 255), (), 0, "all scores are exactly 0"
    ),
    "scores that round to one": Odd(
        lambda path: write_yolo(path, YOLO, quantize=320 / 255), (), 2, "rounds scores to steps of 1.3"
    ),
    "no rows": Odd(
        lambda path: write_constants(
            path,
            {"boxes": np.zeros((0, 4), np.float32), "labels": np.zeros(0, np.int64), "scores": np.zeros(0, np.float32)},
            (64, 64),
            open_rows=["boxes", "labels", "scores"],
        ),
        (),
        0,
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", ODD)
def test_read_and_what_is_odd_is_said(run: RunCommand, tmp_path: Path, name: str) -> None:
    case = ODD[name]
    path, photo = case.write(tmp_path / "model.onnx"), write_photo(tmp_path / "a.png", (64, 64))
    result = run("predict", path, photo, "--preset", "unit", "--resize", "stretch", "--json", *case.words)
    assert result.exit_code == 0, result.output
    (entry,) = json.loads(result.stdout, parse_constant=pytest.fail)
    assert len(entry["detections"]) == case.detections
    assert case.warning in result.stderr
    assert result.stderr.count("\n") == bool(case.warning)


NOT_EXPLAINED = {
    "nothing above the threshold": ("the best candidate has 0.9", "--min-score"),
    "boxes that are not a number": ("3 candidates were left out", "not finite", "--min-score"),
    "boxes turned inside out": ("3 candidates were left out", "an area in the image", "--min-score"),
    "scores that round to zero": ("all scores are exactly 0", "as two outputs"),
    "no rows": ("found no candidate in the image",),
}


@pytest.mark.parametrize("name", NOT_EXPLAINED)
def test_explain_says_why_there_is_no_detection(run: RunCommand, tmp_path: Path, name: str) -> None:
    """Advice to lower a threshold is given only where it helps."""
    case = ODD[name]
    path, photo = case.write(tmp_path / "model.onnx"), write_photo(tmp_path / "a.png", (64, 64))
    words = ["--preset", "unit", "--resize", "stretch", "--masks", 16, "-o", tmp_path / "out", *case.words]
    result = run("explain", path, photo, "-m", "rise", *words)
    assert result.exit_code == 1, result.output
    assert result.stderr.count("\n") == 1
    for text in NOT_EXPLAINED[name]:
        assert text in result.stderr
    assert ("--min-score" in result.stderr) == ("--min-score" in NOT_EXPLAINED[name])


REFUSING = ("explain -m grad-cam", "inspect --try")


@pytest.mark.parametrize("command", REFUSING)
@pytest.mark.parametrize("name", ["blazeface", "yolo"])
def test_what_a_detector_has_no_answer_for_is_refused_by_name(
    run: RunCommand, tmp_path: Path, name: str, command: str, assets: Path
) -> None:
    """BlazeFace's scores [1, 896, 1] were instrumented as 896 classes."""
    path = assets / "detectors" / "blazeface.onnx" if name == "blazeface" else write_yolo(tmp_path / "m.onnx", YOLO)
    photo, out = write_photo(tmp_path / "a.png"), tmp_path / "out"
    words = {
        "explain -m grad-cam": ["explain", path, photo, "-m", "grad-cam", "-o", out],
        "inspect --try": ["inspect", path, "--try", photo],
    }[command]
    result = run(*words)
    assert result.exit_code == WRONG_USAGE
    assert "detector" in result.stderr
    assert "onnxplain predict" in result.stderr or "layer-cam, rise" in result.stderr
    assert result.stderr.count("\n") == 1
    assert not (tmp_path / "out.onnx").exists()


def test_an_output_of_scores_beside_boxes_is_never_instrumented_as_classes(run: RunCommand, tmp_path: Path) -> None:
    """TensorFlow's detection_scores [1, 100] look like 100 classes."""
    path = write_detector(tmp_path / "model.onnx", "tensorflow")
    result = run("instrument", path, "-o", tmp_path / "out.onnx")
    assert result.exit_code == WRONG_USAGE
    assert "found a detector (layout tensorflow)" in result.stderr


@pytest.mark.parametrize("operator", ["EfficientNMS_TRT", "BatchedNMS_TRT"])
def test_instrument_names_operators_of_other_runtimes(run: RunCommand, tmp_path: Path, operator: str) -> None:
    path = custom_operator(operator)(tmp_path / "model.onnx")
    result = run("instrument", path, "-o", tmp_path / "out.onnx")
    assert result.exit_code == WRONG_USAGE
    assert operator in result.stderr
    assert "export" in result.stderr
