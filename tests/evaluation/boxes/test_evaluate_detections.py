"""A detector on a data set: every number where all answers are known, the folder, and what is refused."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from onnxplain import Engine
from onnxplain.data import mosaics, open_dataset
from onnxplain.demo import MODEL
from onnxplain.errors import OnnxplainError, UnsupportedError
from onnxplain.evaluation import evaluate, evaluate_detections
from onnxplain.evaluation.boxes import evaluate_detections as module
from onnxplain.explainers import RISE, Explanation
from tests.evaluation.boxes.seen import box_of, open_cells, write_coco, write_voc, write_yolo

pytest.importorskip("supervision", reason="needs the metrics extra")

# Cells 7 and 12 are of class left, 4 and 10 of class right.
IMAGES = [
    # Two of one class found, one wrong; one true box is darker than the threshold.
    ({7: 0.9, 12: 0.6, 4: 0.8}, [("left", box_of(7)), ("left", box_of(12)), ("right", box_of(10))]),
    ({4: 0.9, 10: 0.1}, [("right", box_of(4)), ("right", box_of(10))]),
]
OPTIONS = {"masks": 128, "fill": (0.0, 0.0, 0.0)}


@pytest.fixture(scope="module")
def engine(tmp_path_factory) -> Engine:
    return open_cells(tmp_path_factory.mktemp("cells") / "model.onnx")


@pytest.fixture(scope="module")
def coco(tmp_path_factory) -> Path:
    return write_coco(tmp_path_factory.mktemp("coco"), IMAGES)


def test_numbers_that_are_known(engine: Engine, coco: Path) -> None:
    found = evaluate_detections(engine, open_dataset(coco), ("rise",), "all", options=OPTIONS)
    tree = found.to_json()
    assert (tree["images"], tree["skipped"]) == (2, 0)
    assert tree["detection"]["recall"] == pytest.approx(3 / 5)
    assert tree["detection"]["precision"] == pytest.approx(3 / 4)
    # left: both found. right: found 4 (0.9), wrong 4 of the first image (0.8), found 10 (0.1); the other 10 is black.
    right = (34 * 1 + 33 * 2 / 3) / 101
    assert tree["detection"]["map_50"] == pytest.approx((1 + right) / 2, abs=1e-4)
    assert tree["counts"]["detection"] == {
        "mean_average_precision": 2,
        "map_50": 2,
        "map_75": 2,
        "recall": 5,
        "precision": 4,
    }
    assert set(tree["intervals"]["detection"]) == {"recall", "precision"}
    for numbers in (tree["methods"]["rise"], tree["baselines"]["box_gaussian"]):
        assert set(numbers) == {"pointing", "energy", "energy_others", "empty", "insertion", "deletion"}
        assert numbers["pointing"] == 1
        assert numbers["empty"] == 0
    assert tree["counts"]["methods"]["rise"]["energy"] == 3
    assert tree["counts"]["methods"]["rise"]["energy_others"] == 3
    assert tree["methods"]["rise"]["energy"] > 0.06  # the box has 0.04 of the pixels
    assert tree["baselines"]["box_gaussian"]["energy"] == pytest.approx(0.9545**2, abs=0.02)
    assert tree["baselines"]["box_gaussian"]["energy_others"] < 0.01


@pytest.mark.parametrize("write", [write_voc, write_yolo])
def test_every_format_of_boxes_gives_the_same_numbers(engine: Engine, coco: Path, tmp_path: Path, write) -> None:
    found = evaluate_detections(engine, open_dataset(write(tmp_path, IMAGES)), ()).to_json()
    expected = evaluate_detections(engine, open_dataset(coco), ()).to_json()
    for part in ("images", "detection", "baselines", "counts"):
        assert same(found[part], expected[part])


def same(found, expected) -> bool:
    """The same trees of numbers, within float32."""
    if isinstance(expected, dict):
        return found.keys() == expected.keys() and all(same(found[key], expected[key]) for key in expected)
    return found == pytest.approx(expected, abs=1e-5)


class Oracle:
    """A method that shows exactly the pixels of the detection's box."""

    name = "oracle"

    def for_targets(self, image, targets) -> list[Explanation]:
        explanations = []
        for target, each in zip(targets, RISE(self.engine, masks=64).for_targets(image, targets), strict=True):
            heat = np.zeros_like(each.heatmap)
            x1, y1, x2, y2 = (int(side) for side in target.xyxy)
            heat[y1:y2, x1:x2] = 1
            explanations.append(replace(each, heatmap=heat, report=None))
        return explanations

    def __init__(self, engine: Engine) -> None:
        self.engine = engine


def test_any_method_that_explains_a_detection(engine: Engine, coco: Path, monkeypatch) -> None:
    """The maps of a method are asked for by `Detection`; one that shows the box alone reaches the ideal."""
    monkeypatch.setattr(module, "build_all", lambda *_: {"rise": Oracle(engine)})
    numbers = evaluate_detections(engine, open_dataset(coco), ("rise",)).to_json()["methods"]["rise"]
    assert numbers == {"pointing": 1, "energy": 1, "energy_others": 0, "empty": 0}


def test_a_stopped_run_continues_with_the_same_numbers(engine: Engine, coco: Path, tmp_path: Path) -> None:
    dataset = open_dataset(coco)
    whole = evaluate_detections(engine, dataset, options=OPTIONS, output=tmp_path / "whole")

    def stop(done: int, total: int, row) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        evaluate_detections(engine, dataset, options=OPTIONS, output=tmp_path / "out", on_row=stop)
    lines = (tmp_path / "out" / "images.jsonl").read_text().splitlines()
    assert [json.loads(line)["image"] for line in lines] == ["0"]
    seen = []
    again = evaluate_detections(
        engine, dataset, options=OPTIONS, output=tmp_path / "out", on_row=lambda done, *_: seen.append(done)
    )
    assert seen == [2]
    assert again.to_json() == whole.to_json()
    assert json.loads((tmp_path / "out" / "summary.json").read_text()) == whole.to_json()
    table = (tmp_path / "out" / "images.csv").read_text().splitlines()
    assert table[0].startswith("index,image,label,predicted,score,detection.recall,detection.precision,rise.pointing")
    assert [line.split(",")[:4] for line in table[1:]] == [
        ["0", "0", "left", "left"],
        ["0", "0", "left", "left"],
        ["0", "0", "right", ""],
        ["0", "0", "", "right"],
        ["1", "1", "right", "right"],
        ["1", "1", "right", ""],
    ]
    with pytest.raises(OnnxplainError, match="found results with min_score"):
        evaluate_detections(engine, dataset, options=OPTIONS, output=tmp_path / "out", min_score=0.5)


def test_nothing_found_gives_nulls_with_the_reason(engine: Engine, tmp_path: Path) -> None:
    coco = write_coco(tmp_path, [({}, [("left", box_of(7))])])
    tree = evaluate_detections(engine, open_dataset(coco)).to_json()
    assert tree["detection"]["recall"] == 0
    assert tree["detection"]["precision"] is None
    assert tree["methods"]["rise"]["energy"] is None
    assert tree["reasons"]["detection"]["precision"] == "nothing is detected"
    assert tree["reasons"]["methods"]["rise"]["energy"] == "no true box is found"


def test_classes_that_the_data_set_does_not_annotate_do_not_count(engine: Engine, tmp_path: Path) -> None:
    coco = write_coco(tmp_path, [({7: 0.9, 4: 0.9}, [("left", box_of(7))])])
    tree = json.loads(coco.read_text())
    tree["categories"] = tree["categories"][:1]
    coco.write_text(json.dumps(tree))
    found = evaluate_detections(engine, open_dataset(coco)).to_json()
    assert (found["detection"]["precision"], found["detection"]["mean_average_precision"]) == (1, 1)


def test_without_supervision_the_rest_is_measured(engine: Engine, coco: Path, monkeypatch) -> None:
    monkeypatch.setattr(module, "missing_modules", lambda extra: ("supervision",))
    tree = evaluate_detections(engine, open_dataset(coco), ()).to_json()
    assert tree["detection"]["mean_average_precision"] is None
    assert tree["reasons"]["detection"]["map_50"] == (
        'supervision is not installed: run pip install "onnxplain[metrics]"'
    )
    assert tree["detection"]["recall"] == pytest.approx(3 / 5)


def refused(engine: Engine, coco: Path, dataset=None, **options) -> None:
    evaluate_detections(engine, open_dataset(coco) if dataset is None else dataset, **options)


@pytest.mark.parametrize(
    ("asked", "message"),
    [
        (lambda e, c: refused(Engine(MODEL), c), "expected a detector"),
        (lambda e, c: evaluate(e, open_dataset(c)), r"use evaluate_detections\(\)"),
        (lambda e, c: refused(e, c, methods=("grad-cam",)), "grad-cam"),
        (lambda e, c: refused(e, c, min_score=1.5), "min_score: found 1.5"),
        (lambda e, c: refused(e, c, metrics="sanity"), "metrics: found 'sanity'"),
        (
            lambda e, c: refused(e, c, mosaics(open_dataset("digits", count=20), 2, 0)),
            "mosaics: found them for a detector",
        ),
        (
            lambda e, c: refused(e.__class__(e.path, detector="end2end", labels=("a", "b", "c")), c),
            "lacks: left, right",
        ),
    ],
)
def test_what_is_refused(engine: Engine, coco: Path, asked, message: str) -> None:
    with pytest.raises((OnnxplainError, UnsupportedError), match=message):
        asked(engine, coco)


def test_objects_without_boxes_are_refused(engine: Engine, coco: Path) -> None:
    dataset = open_dataset(coco)
    records = [replace(record, boxes_xyxy=np.empty((0, 4), np.float32)) for record in dataset.records]
    with pytest.raises(OnnxplainError, match="found 'left' without a box in 0"):
        evaluate_detections(engine, replace(dataset, records=records))
