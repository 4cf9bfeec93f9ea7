from __future__ import annotations

from dataclasses import FrozenInstanceError

import numpy as np
import pytest

from onnxplain.contract import LayerSpec
from onnxplain.errors import OnnxplainError
from onnxplain.runtime import Activations, Batch, Prediction, make_frame

SCORES = np.array([0.1, 0.4, 0.4, 0.1], np.float32)
LAYER = LayerSpec("conv", "features/conv", "gradients/conv", 5, (3, 4))
FRAME = make_frame((10, 10), (8, 8), "stretch")


def prediction(**changes: object) -> Prediction:
    fields = {
        "label": "b",
        "class_id": 1,
        "score": 0.4,
        "box_xyxy": None,
        "box_source": None,
        "scores": SCORES,
        "labels": ("a", "b", "c", "d"),
    }
    return Prediction(**{**fields, **changes})


def activations(**changes: object) -> Activations:
    fields = {
        "layer": LAYER,
        "features": np.zeros((2, 5, 3, 4), np.float32),
        "gradients": np.zeros((2, 5, 3, 4), np.float32),
        "logits": np.zeros((2, 7), np.float32),
        "scores": np.zeros((2, 7), np.float32),
        "target": np.zeros(2, np.int64),
        "frames": (FRAME, FRAME),
    }
    return Activations(**{**fields, **changes})


def test_top_is_best_first_and_stable():
    best = prediction().top(3)
    assert [(index, label) for index, label, _ in best] == [(1, "b"), (2, "c"), (0, "a")]
    assert [score for _, _, score in best] == pytest.approx([0.4, 0.4, 0.1])
    assert prediction(labels=()).top(1)[0][1] == "1"
    assert len(prediction().top(99)) == 4


def test_results_are_frozen():
    with pytest.raises(FrozenInstanceError):
        prediction().label = "x"


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: prediction(scores=SCORES[None]), "prediction scores: found shape"),
        (lambda: prediction(labels=("a",)), r"prediction scores: found shape \(4,\), expected \(1\)"),
        (lambda: prediction(box_xyxy=(0, 0, 1, 1)), "found only one of box_xyxy and box_source"),
        (lambda: prediction(box_source="head"), "found only one of box_xyxy and box_source"),
        (lambda: activations(features=np.zeros((2, 6, 3, 4), np.float32)), "features: found shape"),
        (lambda: activations(gradients=np.zeros((0, 5, 3, 4), np.float32)), "gradients: found shape"),
        (lambda: activations(scores=np.zeros((3, 7), np.float32)), "scores: found shape"),
        (lambda: activations(logits=np.zeros((2, 8), np.float32)), "logits: found shape"),
        (lambda: activations(target=np.zeros(3, np.int64)), "target: found shape"),
        (lambda: activations(frames=(FRAME,)), "features: found shape"),
        (lambda: Batch(np.zeros((2, 3, 8, 8), np.float32), (FRAME,), ()), "batch pixels: found shape"),
        (
            lambda: Batch(np.zeros((1, 3, 8, 8), np.float32), (FRAME,), ()),
            "found 0 images and 1 frames, expected as many",
        ),
    ],
)
def test_wrong_shapes_are_refused(make, message):
    with pytest.raises(OnnxplainError, match=message):
        make()


def test_optional_arrays_may_be_missing():
    result = activations(gradients=None, logits=None)
    assert result.gradients is None
    assert result.logits is None
