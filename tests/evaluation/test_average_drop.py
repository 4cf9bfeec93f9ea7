"""Average drop and increase on models whose scores are known."""

from __future__ import annotations

import numpy as np
import pytest

from onnxplain.errors import OnnxplainError
from onnxplain.evaluation.metrics.average_drop import drop, explained_score, increased

INPUT = np.arange(24, dtype=np.float32).reshape(2, 3, 4) / 24


def linear(batch_nchw: np.ndarray) -> np.ndarray:
    """Scores of two classes: the mean of each channel."""
    return batch_nchw.mean(axis=(2, 3))


@pytest.mark.parametrize("class_id", [0, 1])
def test_the_input_is_multiplied_by_the_heat(class_id: int) -> None:
    heat_hw = np.random.default_rng(0).random((3, 4), np.float32)
    expected = np.mean([INPUT[class_id, y, x] * heat_hw[y, x] for y in range(3) for x in range(4)])
    assert explained_score(linear, INPUT, heat_hw, class_id) == pytest.approx(expected, rel=1e-6)


@pytest.mark.parametrize(("heat", "share"), [(1.0, 1), (0.25, 0.25), (0.0, 0)])
def test_even_heat_scales_a_linear_score(heat: float, share: float) -> None:
    whole = float(linear(INPUT[None])[0, 1])
    explained = explained_score(linear, INPUT, np.full((3, 4), heat, np.float32), 1)
    assert explained == pytest.approx(share * whole)
    assert drop(whole, explained) == pytest.approx(1 - share)
    assert not increased(whole, explained)


@pytest.mark.parametrize(
    ("whole", "explained", "dropped", "more"),
    [
        (0.8, 0.2, 0.75, False),
        (0.5, 0.5, 0.0, False),
        (0.5, 0.9, 0.0, True),
        (0.5, 0.0, 1.0, False),
        (0.0, 0.1, 0.0, True),
        (0.0, 0.0, 0.0, False),
    ],
)
def test_drop_and_increase_by_hand(whole: float, explained: float, dropped: float, more: bool) -> None:
    assert drop(whole, explained) == pytest.approx(dropped)
    assert increased(whole, explained) is more


@pytest.mark.parametrize(
    ("heat_hw", "message"),
    [
        (np.zeros((4, 3), np.float32), r"found \(4, 3\), expected \(3, 4\)"),
        (np.full((3, 4), 1.1, np.float32), "expected 0 to 1"),
        (np.full((3, 4), -0.1, np.float32), "expected 0 to 1"),
        (np.full((3, 4), np.nan, np.float32), "expected 0 to 1"),
    ],
)
def test_other_heat_is_refused(heat_hw: np.ndarray, message: str) -> None:
    with pytest.raises(OnnxplainError, match=message):
        explained_score(linear, INPUT, heat_hw, 0)


def test_scores_that_are_not_finite_are_refused() -> None:
    with pytest.raises(OnnxplainError, match="NaN or infinity"):
        explained_score(lambda batch: np.full((1, 2), np.nan, np.float32), INPUT, np.zeros((3, 4), np.float32), 0)
