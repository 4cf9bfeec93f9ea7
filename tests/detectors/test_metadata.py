"""Metadata of a detector are data too, and what the user states of heads wins over what a detector looks like."""

from __future__ import annotations

import copy
import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest

from onnxplain import Engine
from onnxplain.contract import HeadSpec, InputSpec, ModelSpec, Preprocessing
from onnxplain.contract.detectors import DetectorSpec, LayoutEvidence
from onnxplain.contract.metadata_checks import METADATA
from onnxplain.errors import ModelError, OnnxplainError, UnsupportedError
from onnxplain.exporters import instrument
from tests.detectors.files import write_detector
from tests.test_metadata_checks import NEVER, has_row, places, refusal

IMAGE = InputSpec("image", "nchw", (320, 320), Preprocessing())
YUNET = DetectorSpec(
    "yunet",
    (("c8", "c16", "c32"), ("o8", "o16", "o32"), ("b8", "b16", "b32"), ()),
    classes=1,
    candidates=2100,
    strides=(8, 16, 32),
    ignored=("more [1, 2]",),
    evidence=(LayoutEvidence("names", "c8"),),
    labels=("face",),
)
SPEC = ModelSpec(IMAGE, (), detector=YUNET)
TREE = json.loads(SPEC.to_json())
REFUSED: list[tuple[str, Any]] = [
    ("layout_name", "yolov99"),
    ("outputs", []),
    ("outputs", [["c8"] * 17]),
    ("outputs", [["c8", "c16", "c32"], ["c8", "o16", "o32"], ["b8", "b16", "b32"], []]),
    ("classes", 0),
    ("classes", 2),
    ("candidates", -1),
    ("strides", [0, 8, 16]),
    ("rest", -1),
    ("rest", True),
    ("ignored", [1]),
    ("evidence", [{"found": "x"}]),
    ("unknown", 1),
]


def test_a_detector_is_written_and_read() -> None:
    read = ModelSpec.from_json(SPEC.to_json())
    assert (read.task, read.labels, read.classes, read.heads) == ("detection", ("face",), 1, ())
    assert read.detector is not None
    assert (read.detector.outputs, read.detector.strides, read.detector.ignored) == (
        YUNET.outputs,
        YUNET.strides,
        YUNET.ignored,
    )
    assert (TREE["labels"], "labels" in TREE["detector"]) == (["face"], False)
    assert read.named_outputs == YUNET.output_names
    with pytest.raises(UnsupportedError, match="detector"):
        _ = read.head


def test_every_value_has_a_row() -> None:
    tree = json.loads(json.dumps(asdict(SPEC)))
    tree["input"].update(tree["input"].pop("preprocessing"))
    tree["labels"] = tree["detector"].pop("labels")
    assert [path for path in places(tree) if not has_row(METADATA, path)] == []


@pytest.mark.parametrize("value", NEVER.values(), ids=NEVER)
def test_no_value_may_be_this(value: Any) -> None:
    for path in places(TREE["detector"]):
        tree = copy.deepcopy(TREE)
        parent = tree["detector"]
        for key in path[:-1]:
            parent = parent[key]
        parent[path[-1]] = value
        refusal(json.dumps(tree))


@pytest.mark.parametrize(("key", "value"), REFUSED, ids=str)
def test_a_value_that_is_refused(key: str, value: Any) -> None:
    with pytest.raises(ModelError):
        ModelSpec.from_json(json.dumps({**TREE, "detector": {**TREE["detector"], key: value}}))


def test_a_model_has_heads_or_is_a_detector() -> None:
    head = HeadSpec("y", "classes", 3, "y")
    with pytest.raises(ModelError, match="found a detector with heads"):
        ModelSpec(IMAGE, (head,), detector=YUNET)
    with pytest.raises(ModelError, match="found no heads"):
        ModelSpec(IMAGE, ())


def test_stated_heads_win_over_what_looks_like_a_detector(tmp_path: Path) -> None:
    """TensorFlow's detection_scores [1, 100], stated as labels."""
    path = write_detector(tmp_path / "model.onnx", "tensorflow")
    assert Engine(path).spec.detector is not None
    engine = Engine(path, heads=["detection_scores:0:labels"])
    assert engine.spec.detector is None
    assert (engine.spec.head.name, engine.spec.head.kind) == ("detection_scores:0", "labels")
    with pytest.raises(OnnxplainError) as caught:
        instrument(path, tmp_path / "out.onnx", heads=["detection_scores:0:labels"])
    assert "detector" not in str(caught.value)


def test_a_detector_takes_no_statements_about_heads(tmp_path: Path) -> None:
    path = write_detector(tmp_path / "model.onnx", "tensorflow")
    with pytest.raises(OnnxplainError, match="expected one of both"):
        Engine(path, heads=["detection_scores:0:labels"], detector="tensorflow")
    with pytest.raises(OnnxplainError, match="a detector has no heads"):
        Engine(path, labels={"detection_scores:0": ["a"]})
