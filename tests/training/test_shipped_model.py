"""The localizer that ships: the figures that the README gives, reached by the file itself through the engine."""

from __future__ import annotations

import numpy as np
import pytest

from onnxplain import Engine
from onnxplain.demo import MODEL
from onnxplain.training.digits import evaluate_digits


@pytest.fixture(scope="module")
def engine():
    return Engine(MODEL)


def test_the_shipped_file_is_small():
    assert MODEL.stat().st_size < 1_000_000


def test_the_shipped_file_reaches_its_goal_on_unseen_digits_and_textures(engine):
    def predict(images):
        found = engine.predict(list(images))
        return np.array([p.class_id for p in found]), np.array([p.box_xyxy for p in found], np.float32)

    reached = evaluate_digits(predict, count=1000)
    print(f"digits.onnx: accuracy {reached.accuracy:.3f}, mean IoU {reached.mean_iou:.3f}")
    assert reached.accuracy >= 0.95
    assert reached.mean_iou >= 0.75
