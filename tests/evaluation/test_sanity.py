"""The rank correlation of two heatmaps against scipy's, and where scipy's is not defined."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from scipy.stats import spearmanr

from onnxplain.errors import OnnxplainError
from onnxplain.evaluation.metrics.sanity import rank_correlation, shuffled_similarity
from onnxplain.explainers import Explanation
from onnxplain.runtime.geometry import Frame, make_frame

RNG = np.random.default_rng(3)
MAP = RNG.random((13, 17), np.float32)


@pytest.mark.parametrize("levels", [None, 2, 5, 50])
def test_against_scipy_with_and_without_ties(levels: int | None) -> None:
    one, other = (MAP + share * RNG.random(MAP.shape, np.float32) for share in (0.2, 0.7))
    if levels is not None:
        one, other = np.floor(one * levels), np.floor(other * levels)
    assert rank_correlation(one, other) == pytest.approx(spearmanr(one.ravel(), other.ravel()).statistic, abs=1e-12)


@pytest.mark.parametrize(("other", "expected"), [(MAP, 1), (MAP**3, 1), (5 - MAP, -1)])
def test_it_sees_order_alone(other: np.ndarray, expected: float) -> None:
    assert rank_correlation(MAP, other) == pytest.approx(expected, abs=1e-12)


ZEROS = np.zeros_like(MAP)


@pytest.mark.parametrize(("one", "other", "expected"), [(MAP, ZEROS, 0), (ZEROS, MAP, 0), (ZEROS, ZEROS + 1, 1)])
def test_a_map_that_is_the_same_everywhere(one: np.ndarray, other: np.ndarray, expected: float) -> None:
    assert rank_correlation(one, other) == expected


@pytest.mark.parametrize(
    ("other", "message"),
    [(MAP[1:], "expected the same shape"), (MAP.T, "expected the same shape"), (MAP * np.nan, "NaN or infinity")],
)
def test_refusals(other: np.ndarray, message: str) -> None:
    with pytest.raises(OnnxplainError, match=message):
        rank_correlation(MAP, other)


def explained(raw_hw: np.ndarray, frame: Frame, target: int = 1) -> Explanation:
    heatmap = frame.map_to_image(raw_hw)
    peak = heatmap.max()
    return Explanation(
        heatmap / peak if peak > 0 else heatmap,
        raw_hw,
        "ok" if peak > 0 else "no_positive_evidence",
        "grad-cam",
        target,
        "b",
        0.5,
        "b",
        "late",
        frame,
        1,
    )


@pytest.mark.parametrize("resize", ["crop", "stretch", "letterbox"])
def test_only_what_the_model_saw_of_the_image_is_compared(resize: str) -> None:
    frame = make_frame((60, 120), (24, 24), resize)
    rows = np.linspace(1, 2, 6, dtype=np.float32)[:, None] * np.ones((6, 6), np.float32)
    assert shuffled_similarity(explained(rows, frame), explained(rows**2, frame)) == pytest.approx(1, abs=0.01)
    # Rounding orders what was equal in a row, hence the tolerance. Maps that run across each other have nothing in
    # common; zeros outside of what is seen would hide that.
    assert shuffled_similarity(explained(rows, frame), explained(rows.T.copy(), frame)) == pytest.approx(0, abs=0.01)
    assert shuffled_similarity(explained(rows, frame), explained(0 * rows, frame)) == 0


FRAME = make_frame((60, 120), (24, 24), "crop")


@pytest.mark.parametrize(
    ("shuffled", "message"),
    [
        (explained(MAP, FRAME, target=2), "found target 2, expected 1"),
        (explained(MAP, make_frame((60, 120), (24, 24), "stretch")), "found frame"),
        (replace(explained(MAP, FRAME), layer="early"), "found layer early, expected late"),
        (replace(explained(MAP, FRAME), method="cam"), "found method cam, expected grad-cam"),
    ],
)
def test_what_is_not_the_same_but_for_the_weights_is_refused(shuffled: Explanation, message: str) -> None:
    with pytest.raises(OnnxplainError, match=message):
        shuffled_similarity(explained(MAP, FRAME), shuffled)
