"""Targets of detectors: which detection a text means, and what is said if there is none."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from onnxplain import Engine
from onnxplain.contract import ModelSpec
from onnxplain.errors import OnnxplainError, UnsupportedError
from onnxplain.explainers import RISE
from onnxplain.runtime import Detection, Detections
from onnxplain.runtime.detection.detection_target import DetectionTarget, parse_detection_target
from tests.detectors.files import write_yolo
from tests.detectors.seeing import open_suppressing, photo_of_blobs
from tests.detectors.test_detect import YOLO, photo

LABELS = ("cat", "dog", "#2", "3", "all", "dog", "x,y", "tv")
# Best first: class, box.
FOUND = [(7, (0, 0, 90, 90)), (0, (10, 10, 40, 40)), (7, (30, 30, 60, 60)), (7, (5, 5, 100, 100))]


@pytest.fixture(scope="module")
def spec(tmp_path_factory: pytest.TempPathFactory) -> ModelSpec:
    path = write_yolo(tmp_path_factory.mktemp("model") / "model.onnx", YOLO[2:], classes=len(LABELS))
    return Engine(path, labels=LABELS).spec


@pytest.fixture
def found() -> Detections:
    return Detections(
        xyxy=np.array([box for _, box in FOUND], np.float32),
        confidence=np.array([0.9, 0.8, 0.7, 0.6], np.float32),
        class_id=np.array([class_id for class_id, _ in FOUND]),
        candidate=np.array([11, 22, 33, 44]),
        labels=LABELS,
        best_score=0.9,
    )


MEANT = {
    "": [0],
    "tv": [0],
    "7": [0],
    "cat": [1],
    "0": [1],
    "tv#1": [0],
    "tv#2": [2],
    "7#3": [3],
    "#1": [0],
    "#4": [3],
    "45,45": [2],
    "35.5, 20": [1],
    "95,95": [3],
    "0,0": [0],
    "tv#2:x1": [2],
    "#3:y2": [2],
    "all#1": None,
    "#2": None,  # the label wins
    "all": None,
    "x,y": None,
    "cat#2": None,
    "tv#4": None,
    "#5": None,
    "200,10": None,
    "90,200": None,
}


@pytest.mark.parametrize("text", MEANT)
def test_what_a_target_means(spec: ModelSpec, found: Detections, text: str) -> None:
    target = parse_detection_target(spec, text or None)
    assert isinstance(target, DetectionTarget)
    expected = MEANT[text]
    if expected is not None:
        assert target.find(found) == [replace(found[index], side=target.side) for index in expected]
        assert (target.side is None) == (":" not in text)
        return
    listed = re.escape(f"target: found {text!r}, expected one of #1 tv#1 (0.90 at 0,0,90,90); #2 cat#1 (0.80 at ")
    with pytest.raises(OnnxplainError, match=listed):
        target.find(found)


def test_all_and_numbers(spec: ModelSpec, found: Detections) -> None:
    everything = DetectionTarget("all", every=True)
    assert everything.find(found) == [found[index] for index in range(4)]
    assert [each.name for each in everything.find(found)] == ["tv#1", "cat#1", "tv#2", "tv#3"]
    # The index 3 is a class, also where a label is "3" at another place.
    assert parse_detection_target(spec, 7) == DetectionTarget("7", 7)
    assert parse_detection_target(spec, np.int64(0)) == DetectionTarget("0", 0)
    assert parse_detection_target(spec, "3") == DetectionTarget("3", 3)
    assert parse_detection_target(spec, found[1]) is not None
    assert parse_detection_target(spec, found[1]) == found[1]


@pytest.mark.parametrize(
    ("target", "message"),
    [
        ("horse", "expected LABEL, INDEX, LABEL#2, #3, X,Y, LABEL#1:x1 or all"),
        ("ca", "similar labels: cat"),
        ("dog", "the label of several classes, expected one: give index 1, 5"),
        ("dog#1", "give index 1, 5"),
        ("8", "expected a class index from 0 to 7"),
        (8, "expected a class index from 0 to 7"),
        (-1, "expected a class index from 0 to 7"),
        ("tv#0", "expected a number from 1"),
        ("horse#1", "found 'horse'"),
        ("-3,5", "expected LABEL"),
        (True, "found True"),
        (2.5, "found 2.5"),
    ],
)
def test_what_is_no_target(spec: ModelSpec, target, message: str) -> None:
    with pytest.raises(OnnxplainError, match=re.escape(message)):
        parse_detection_target(spec, target)


def test_a_long_list_is_cut(spec: ModelSpec) -> None:
    many = Detections(
        np.tile(np.array([[1, 2, 3, 4]], np.float32), (25, 1)),
        np.full(25, 0.5, np.float32),
        np.zeros(25, np.int64),
        np.arange(25),
        LABELS,
    )
    with pytest.raises(OnnxplainError, match=r"#10 cat#10 \(0.50 at 1,2,3,4\); and 15 more$"):
        DetectionTarget("tv", 7).find(many)


def test_no_detection_names_the_best_score(tmp_path: Path) -> None:
    """A detection below the threshold can be explained if it is given as a value."""
    engine = open_suppressing(tmp_path / "model.onnx")
    dim = photo_of_blobs() // 5
    with pytest.raises(OnnxplainError, match=r"found no detection, the best candidate has 0\.1\d\d, .*--min-score"):
        RISE(engine, masks=4)(dim)
    with pytest.raises(OnnxplainError, match="found no candidate in the image"):
        RISE(engine, masks=4)(np.zeros_like(dim))
    (found,) = engine.detect(dim, min_score=0.1)
    assert RISE(engine, masks=4)(dim, found[0]).detection == found[0]


def test_what_rise_refuses(tmp_path: Path) -> None:
    engine = open_suppressing(tmp_path / "model.onnx")
    method = RISE(engine, masks=4)
    with pytest.raises(UnsupportedError, match="the method explains scores, not coordinates; leave out :x1"):
        method(photo_of_blobs(), "1#1:x1")
    with pytest.raises(OnnxplainError, match="expected the coordinate of one detection"):
        method(photo_of_blobs(), "all:x1")
    with pytest.raises(OnnxplainError, match="use for_targets"):
        method(photo_of_blobs(), "all")
    assert method.accepts("1#9")
    assert not method.accepts("no such thing")
    assert not method.accepts("#1:y2")


def test_detections_are_a_sequence(found: Detections) -> None:
    assert [each.candidate for each in found] == [11, 22, 33, 44]
    assert found[-1] == Detection((5, 5, 100, 100), pytest.approx(0.6), 7, "tv", 44, 3)
    assert hash(found[0]) == hash(found[0])
    assert found[1].as_json() == {
        "xyxy": [10, 10, 40, 40],
        "score": pytest.approx(0.8),
        "class_id": 0,
        "label": "cat",
        "candidate": 22,
    }
    with pytest.raises(IndexError):
        found[4]


def test_one_target_per_image(tmp_path: Path) -> None:
    engine = Engine(write_yolo(tmp_path / "model.onnx", YOLO))
    first, second = RISE(engine, masks=2)([photo(320, 320), photo(100, 200)], ["#2", 2])
    assert [each.target_name for each in (first, second)] == ["1#1", "2#1"]
