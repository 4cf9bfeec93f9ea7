"""`Engine.detect` on files of every layout: boxes in pixels of the photo, labels, batches, what is left out."""

from __future__ import annotations

import json
import tracemalloc
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import pytest

from onnxplain import Engine
from onnxplain.contract import METADATA_KEY, ModelSpec, PreprocessingParts
from onnxplain.contract.detectors import LAYOUTS, DetectorSpec
from onnxplain.errors import ModelError, OnnxplainError, UnsupportedError
from onnxplain.explainers import RISE, GradCAM, localize
from onnxplain.runtime import Detections
from onnxplain.runtime.detection.columns import read_columns
from onnxplain.runtime.detection.decode import decode_candidates
from tests.detectors.fakes import FAKES
from tests.detectors.files import (
    write_constants,
    write_detector,
    write_with_sizes,
    write_with_suppression,
    write_yolo,
)
from tests.detectors.test_decode import spec_of
from tests.detectors.written import Known, known_detections
from tests.models import write_classifier

YOLO = [
    Known((40, 60, 120, 200), 16, 0.9, 500),
    Known((42, 61, 122, 199), 16, 0.8, 501),  # the same dog
    Known((42, 61, 122, 199), 1, 0.7, 502),  # a bicycle in its place
    Known((200, 100, 300, 220), 2, 0.6, 1700),
    Known((10, 10, 30, 30), 2, 0.1, 3),
]


def photo(height: int, width: int) -> np.ndarray:
    return np.full((height, width, 3), 90, np.uint8)


@pytest.mark.parametrize("name", LAYOUTS)
def test_boxes_come_in_pixels_of_the_photo(tmp_path: Path, name: str) -> None:
    """The photo is higher than the input: stretched, or laid in a letterbox, as the family does it."""
    engine = Engine(write_detector(tmp_path / "model.onnx", name), detector=name)
    known, (height, width) = known_detections(name)[::-1], FAKES[name].size_hw
    photo_hw = (height * 2, width)
    (found,) = engine.detect(photo(*photo_hw), min_score=0.5, iou=1.0)
    resize = LAYOUTS[name].preprocessing.resize
    assert engine.spec.input.preprocessing.resize == resize
    scale = (width / photo_hw[1], height / photo_hw[0]) if resize == "stretch" else (0.5, 0.5)
    left = 0 if resize in ("stretch", "letterbox-corner") else width / 4
    expected = np.array([each.xyxy for each in known]) - [left, 0, left, 0]
    expected = (expected / [*scale, *scale]).clip(0, [photo_hw[1], photo_hw[0]] * 2)
    visible = (expected[:, 2:] > expected[:, :2]).all(axis=1)
    assert visible.any()
    np.testing.assert_allclose(found.xyxy, expected[visible], atol=0.1)
    np.testing.assert_allclose(
        found.confidence, [each.score for each, seen in zip(known, visible, strict=True) if seen], atol=1e-5
    )
    assert found.class_id.tolist() == [each.class_id for each, seen in zip(known, visible, strict=True) if seen]
    assert found.candidate.tolist() == [each.candidate for each, seen in zip(known, visible, strict=True) if seen]
    assert found.unusable == int((~visible).sum())


def test_a_yolo_file_needs_no_word_and_overlaps_are_suppressed_per_class(tmp_path: Path) -> None:
    engine = Engine(write_yolo(tmp_path / "model.onnx", YOLO))
    assert engine.spec.detector is not None
    assert (engine.spec.task, engine.spec.detector.layout_name, engine.spec.classes) == ("detection", "yolo-dense", 80)
    assert engine.spec.input.origins.assumed == ("channels", "scale", "mean", "std", "resize")
    (found,) = engine.detect(photo(320, 320))
    assert found.candidate.tolist() == [500, 502, 1700]
    np.testing.assert_allclose(found.xyxy[0], YOLO[0].xyxy, atol=1e-3)
    assert engine.detect(photo(320, 320), iou=1.0)[0].candidate.tolist() == [500, 501, 502, 1700]
    assert engine.detect(photo(320, 320), min_score=0.85)[0].candidate.tolist() == [500]
    assert engine.detect(photo(320, 320), min_score=0.05)[0].candidate.tolist() == [500, 502, 1700, 3]


@pytest.mark.parametrize("name", ["yolo-dense", "detr", "torchvision", "openvino", "end2end-batch", "rt-detr-deploy"])
@pytest.mark.parametrize("count", [1, 3])
def test_several_images_of_a_file_whose_batch_is_fixed_to_one(tmp_path: Path, name: str, count: int) -> None:
    engine = Engine(write_detector(tmp_path / "model.onnx", name), detector=name)
    found = engine.detect([photo(50, 60)] * count, min_score=0.5)
    assert [len(each) for each in found] == [len(found[0])] * count
    assert len(found[0]) > 0


@pytest.mark.parametrize("name", LAYOUTS)
def test_an_image_input_without_a_batch_axis(tmp_path: Path, name: str) -> None:
    engine = Engine(write_detector(tmp_path / "model.onnx", name, batch=None), detector=name)
    assert engine.spec.input.layout == "chw"
    height, width = FAKES[name].size_hw
    for found in engine.detect([photo(height, width)] * 2, min_score=0.5, iou=1.0):
        assert found.candidate.tolist() == [each.candidate for each in known_detections(name)[::-1]]


def test_a_batch_fixed_to_two(tmp_path: Path) -> None:
    known = known_detections("yolo-dense")
    arrays = {"output0": np.zeros((2, 84, 8400), np.float32)}
    arrays["output0"][1, :4, 7], arrays["output0"][1, 9, 7] = known[0].cxcywh, 0.9
    path = write_constants(tmp_path / "model.onnx", arrays, (640, 640), batch=2)
    engine = Engine(path, detector="yolo-dense")
    assert [len(each) for each in engine.detect([photo(640, 640)] * 3)] == [0, 1, 0]


def test_suppression_inside_the_graph(tmp_path: Path) -> None:
    """As in torchvision: no batch axis, as many rows as are left, classes from 1."""
    boxes = np.array([[10, 10, 50, 50], [12, 11, 51, 50], [60, 5, 90, 40]], np.float32)
    path = write_with_suppression(tmp_path / "model.onnx", boxes, np.array([0.6, 0.9, 0.7], np.float32))
    engine = Engine(path)
    assert engine.spec.detector is not None
    assert (engine.spec.detector.layout_name, engine.spec.detector.candidates) == ("torchvision", None)
    for found in engine.detect([photo(64, 96), photo(128, 192)]):
        assert found.class_id.tolist() == [1, 2]
        assert found.confidence.tolist() == pytest.approx([0.9, 0.7])
    np.testing.assert_allclose(engine.detect(photo(128, 192))[0].xyxy, boxes[1:] * 2)


def test_an_input_for_the_size_of_the_image_fills_itself(tmp_path: Path) -> None:
    """Width first, then height, those of the model's input; so the way back to the photo is that of all layouts."""
    shares = np.array([[0.1, 0.2, 0.5, 0.9], [0.5, 0.5, 1.0, 1.0]], np.float32)
    engine = Engine(write_with_sizes(tmp_path / "model.onnx", shares))
    assert engine.spec.detector is not None
    assert engine.spec.detector.layout_name == "rt-detr-deploy"
    (found,) = engine.detect(photo(100, 300))
    np.testing.assert_allclose(found.xyxy, shares * [300, 100, 300, 100], atol=1e-3)


def ultralytics(**more: str) -> dict[str, str]:
    names = {index: f"thing {index}" for index in range(80)} | {16: "dog"}
    return {"stride": "32", "task": "detect", "names": str(names), "imgsz": "[320, 320]", **more}


def test_labels_and_preprocessing_of_ultralytics(tmp_path: Path) -> None:
    engine = Engine(write_yolo(tmp_path / "model.onnx", YOLO, metadata=ultralytics()))
    (found,) = engine.detect(photo(320, 320))
    assert [found.label(index) for index in range(len(found))] == ["dog", "thing 1", "thing 2"]
    assert engine.spec.input.origins.assumed == ()
    assert engine.spec.detector is not None
    assert engine.spec.detector.evidence[0].kind == "Ultralytics"


@pytest.mark.parametrize(("name", "resize"), [("rt-detr-ultralytics", "stretch"), ("yolo-dense", "letterbox")])
def test_ultralytics_resizes_rt_detr_in_another_way(tmp_path: Path, name: str, resize: str) -> None:
    path = write_detector(tmp_path / "model.onnx", name)
    model = onnx.load(path)
    onnx.helper.set_model_props(model, ultralytics(imgsz="[640, 640]"))
    onnx.save(model, path)
    engine = Engine(path, detector=name)
    assert engine.spec.input.preprocessing.resize == resize
    assert engine.spec.input.origins.resize.kind == "read"


@pytest.mark.parametrize(("name", "labels", "expected"), [
    ("yunet", None, ("face",)),
    ("ssd", ["BACKGROUND", "face"], ("face",)),
    ("ssd", ["face"], ("face",)),
    ("torchvision", ["__background__", *map(str, range(80))], tuple(map(str, range(80)))),
    ("tensorflow", ["???", "person"], ("person",)),
    ("tensorflow", ["person", "bicycle"], ("person", "bicycle")),
    ("openvino", ["background", "person"], ("background", "person")),
    ("detr", [*map(str, range(91)), "no-object"], tuple(map(str, range(91)))),
])  # fmt: skip
def test_labels_of_the_background_are_not_counted(
    tmp_path: Path, name: str, labels: list[str] | None, expected: tuple[str, ...]
) -> None:
    engine = Engine(write_detector(tmp_path / "model.onnx", name), detector=name, labels=labels)
    assert engine.spec.labels == expected


def test_a_class_without_a_label_is_shown_by_its_index(tmp_path: Path) -> None:
    engine = Engine(write_detector(tmp_path / "model.onnx", "end2end"), detector="end2end", labels=["a", "b", "c"])
    (found,) = engine.detect(photo(640, 640), min_score=0.5)
    assert [found.label(index) for index in range(3)] == ["79", "17", "c"]


def test_labels_of_another_number_are_refused(tmp_path: Path) -> None:
    with pytest.raises(OnnxplainError, match="found 3, but the model has 80 classes"):
        Engine(write_yolo(tmp_path / "model.onnx", YOLO), labels=["a", "b", "c"])


def test_labels_of_another_number_than_the_metadata_name_are_refused(tmp_path: Path) -> None:
    path = write_yolo(tmp_path / "model.onnx", YOLO, metadata=ultralytics())
    with pytest.raises(OnnxplainError, match="found 3, but the model has 80 classes"):
        Engine(path, labels=["a", "b", "c"])


def test_labels_beside_the_file_of_another_number_are_not_used(tmp_path: Path) -> None:
    path = write_yolo(tmp_path / "model.onnx", YOLO)
    (tmp_path / "labels.txt").write_text("a\nb\n")
    engine = Engine(path)
    assert engine.spec.labels == ()
    assert "2 labels" in engine.sidecars.problems[0].found


def test_what_is_stated_wins_over_the_family(tmp_path: Path) -> None:
    stated = PreprocessingParts(channels="bgr", resize="stretch")
    engine = Engine(write_yolo(tmp_path / "model.onnx", YOLO), preprocessing=stated)
    assert (engine.spec.input.preprocessing.channels, engine.spec.input.preprocessing.resize) == ("bgr", "stretch")
    assert engine.spec.input.origins.assumed == ("scale", "mean", "std")


def test_the_files_own_metadata_come_first(tmp_path: Path) -> None:
    """A file that carries onnxplain's metadata is read by them, whatever its outputs look like."""
    path = write_detector(tmp_path / "model.onnx", "rf-detr")
    spec = Engine(path, detector="rf-detr").spec
    read = ModelSpec.from_json(spec.to_json())
    assert read.detector is not None
    assert replace(read.detector, evidence=spec.detector.evidence if spec.detector else ()) == spec.detector
    model = onnx.load(path)
    tree = json.loads(spec.to_json())
    tree["labels"] = [f"class {index}" for index in range(91)]
    onnx.helper.set_model_props(model, {METADATA_KEY: json.dumps(tree)})
    onnx.save(model, path)
    engine = Engine(path)
    (found,) = engine.detect(photo(560, 560), min_score=0.5)
    assert found.label(0) == "class 79"
    assert engine.spec.detector is not None
    assert engine.spec.detector.evidence[0].kind == "metadata"
    with pytest.raises(ModelError, match="found rf-detr in the metadata, expected yolox"):
        Engine(path, detector="yolox")


@pytest.mark.parametrize(
    "wrong", [{"layout_name": "yolov99"}, {"outputs": [["dets"]]}, {"outputs": 7}, {"strides": "x"}]
)
def test_broken_metadata_of_a_detector_are_refused(tmp_path: Path, wrong: dict[str, object]) -> None:
    tree = json.loads(Engine(write_detector(tmp_path / "model.onnx", "rf-detr"), detector="rf-detr").spec.to_json())
    tree["detector"] |= wrong
    with pytest.raises(ModelError):
        ModelSpec.from_json(json.dumps(tree))


def test_a_uint8_input_with_channels_last_takes_raw_pixels(tmp_path: Path) -> None:
    """TensorFlow's: image_tensor uint8 [1, ?, ?, 3]."""
    path = write_detector(tmp_path / "model.onnx", "tensorflow")
    model = onnx.load(path)
    kind = model.graph.input[0].type.tensor_type
    kind.elem_type = onnx.TensorProto.UINT8
    for dim, size in zip(kind.shape.dim, (1, "height", "width", 3), strict=True):
        dim.Clear()
        setattr(dim, "dim_value" if isinstance(size, int) else "dim_param", size)
    kind.shape.dim[3].dim_value = 3
    model.graph.node.insert(0, onnx.helper.make_node("Cast", ["image"], ["cast"], to=onnx.TensorProto.FLOAT))
    model.graph.node[1].input[0] = "cast"
    onnx.save(model, path)
    engine = Engine(path, input_size_hw=(300, 300))
    assert (engine.spec.input.layout, engine.input_dtype) == ("nhwc", np.uint8)
    preprocessing = engine.spec.input.preprocessing
    assert (preprocessing.channels, preprocessing.scale, preprocessing.mean, preprocessing.resize) == (
        "rgb", 1.0, (0.0, 0.0, 0.0), "stretch",
    )  # fmt: skip
    (found,) = engine.detect(photo(300, 300), min_score=0.5)
    np.testing.assert_allclose(found.xyxy, [each.xyxy for each in known_detections("tensorflow")[::-1]], atol=0.1)


def test_a_float16_file(tmp_path: Path) -> None:
    half = np.zeros((1, 84, 8400), np.float16)
    half[0, :4, 7], half[0, 9, 7] = (100, 120, 40, 60), 0.75
    engine = Engine(write_constants(tmp_path / "model.onnx", {"output0": half}, (640, 640)), detector="yolo-dense")
    (found,) = engine.detect(photo(640, 640))
    assert (found.class_id.tolist(), found.confidence.tolist()) == ([5], [0.75])
    np.testing.assert_allclose(found.xyxy, [[80, 90, 120, 150]])


@pytest.mark.parametrize(("step", "scores"), [(320 / 255, [1.0, 1.0]), (640 / 255, [])])
def test_one_scale_in_eight_bits_for_boxes_and_scores(tmp_path: Path, step: float, scores: list[float]) -> None:
    """Scores round to 0 or to one step; a step above 1 is the score 1."""
    engine = Engine(write_yolo(tmp_path / "model.onnx", YOLO[:2] + YOLO[3:], quantize=step))
    (found,) = engine.detect(photo(320, 320), iou=1.0)
    assert found.confidence.tolist() == scores
    assert found.best_score == max(scores, default=0)
    assert found.score_step == pytest.approx(step)
    if scores:
        np.testing.assert_allclose(found.xyxy[0], YOLO[0].xyxy, atol=step)


def test_eight_bit_outputs_without_a_scale_are_refused(tmp_path: Path) -> None:
    arrays = {"output0": np.zeros((1, 84, 8400), np.uint8)}
    path = write_constants(tmp_path / "model.onnx", arrays, (640, 640))
    with pytest.raises(ModelError, match="outputs of eight bits without one scale"):
        Engine(path, detector="yolo-dense")


def test_boxes_that_cannot_be_shown_are_counted_and_left_out(tmp_path: Path) -> None:
    arrays = {"output0": np.zeros((1, 300, 6), np.float32)}
    arrays["output0"][0, :5] = [
        (10, 10, 50, 50, 0.9, 1),
        (50, 50, 10, 10, 0.8, 1),  # turned inside out
        (np.nan, 10, 50, 50, 0.7, 1),
        (-90, -90, -10, -10, 0.6, 1),  # outside the photo
        (10, 10, np.inf, 50, 0.5, 1),
    ]
    engine = Engine(write_constants(tmp_path / "model.onnx", arrays, (640, 640)), detector="end2end")
    (found,) = engine.detect(photo(640, 640))
    assert (found.candidate.tolist(), found.unusable) == ([0], 4)


def test_nothing_above_the_threshold_is_an_empty_answer(tmp_path: Path) -> None:
    (found,) = Engine(write_yolo(tmp_path / "model.onnx", YOLO)).detect(photo(320, 320), min_score=0.95)
    assert (len(found), repr(found)) == (0, "Detections(0)")
    assert found.best_score == pytest.approx(0.9)
    assert found.xyxy.shape == (0, 4)


def test_memory_of_many_candidates(tmp_path: Path) -> None:
    """25,200 candidates of 80 classes in a batch of 8: nothing is copied as a whole."""
    spec, output = spec_of("yolo-anchor"), np.zeros((8, 25200, 85), np.float32)
    output[:, ::100, 4:] = 0.9
    tracemalloc.start()
    for columns in read_columns(spec, {"output": output}):
        decode_candidates(spec, columns, (640, 640), 0.25)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < output.nbytes / 8


def test_detections_for_supervision(tmp_path: Path) -> None:
    pytest.importorskip("supervision")
    engine = Engine(write_yolo(tmp_path / "model.onnx", YOLO, metadata=ultralytics()))
    (found,) = engine.detect(photo(320, 320))
    other = found.to_supervision()
    np.testing.assert_array_equal(other.xyxy, found.xyxy)
    np.testing.assert_array_equal(other.confidence, found.confidence)
    np.testing.assert_array_equal(other.class_id, found.class_id)
    assert other.data["class_name"].tolist() == ["dog", "thing 1", "thing 2"]
    assert repr(found) == "Detections(3: dog 0.90, thing 1 0.70, thing 2 0.60)"
    empty = engine.detect(photo(320, 320), min_score=1.0)[0].to_supervision()
    assert len(empty) == 0


@pytest.mark.parametrize("wrong", ["confidence", "class_id", "candidate", "xyxy"])
def test_detections_of_different_lengths_are_refused(wrong: str) -> None:
    parts = {"xyxy": np.zeros((2, 4), np.float32), "confidence": np.zeros(2, np.float32)}
    parts |= {"class_id": np.zeros(2, np.int64), "candidate": np.zeros(2, np.int64)}
    parts[wrong] = parts[wrong][..., :1] if wrong == "xyxy" else parts[wrong][:1]
    with pytest.raises(OnnxplainError, match=f"detections {wrong}"):
        Detections(**parts)


@pytest.mark.parametrize(
    ("name", "value"), [("min_score", -0.1), ("min_score", 1.5), ("iou", 2.0), ("iou", float("nan"))]
)
def test_thresholds_outside_0_to_1_are_refused(tmp_path: Path, name: str, value: float) -> None:
    engine = Engine(write_yolo(tmp_path / "model.onnx", YOLO))
    with pytest.raises(OnnxplainError, match=f"{name}: found"):
        engine.detect(photo(8, 8), **{name: value})


def test_what_a_detector_and_a_classifier_cannot_do(tmp_path: Path) -> None:
    detector = Engine(write_yolo(tmp_path / "detector.onnx", YOLO))
    for call in (
        detector.predict,
        detector.activations,
        lambda image: detector.scores(detector.preprocess(image)),
        lambda image: localize(detector, image),
        lambda image: GradCAM(detector)(image),
        lambda image: RISE(detector).all_classes(image),
        lambda image: RISE(detector, explain_output="box")(image),
    ):
        with pytest.raises(UnsupportedError, match=r"detector.*(predict|rise|for_targets|leave it out)"):
            call(photo(8, 8))
    classifier = Engine(write_classifier(tmp_path / "classifier.onnx"))
    with pytest.raises(UnsupportedError, match="found a model with classes, expected a detector"):
        classifier.detect(photo(8, 8))


def test_a_detector_spec_is_a_plain_value() -> None:
    spec = spec_of("detr")
    assert isinstance(spec, DetectorSpec)
    assert spec.output_names == ("logits", "pred_boxes")
