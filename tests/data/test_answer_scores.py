"""Average precision against its definition, step by step, and against scikit-learn."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from onnxplain.data.answer_scores import average_precision, mean_absolute_error, mean_average_precision
from onnxplain.errors import OnnxplainError


def by_definition(scores: list[float], truths: list[bool]) -> float:
    """Σ (R_n − R_{n−1}) · P_n over the distinct scores as thresholds, counted one by one."""
    total, recall = 0.0, 0.0
    for threshold in sorted(set(scores), reverse=True):
        taken = [truth for score, truth in zip(scores, truths, strict=True) if score >= threshold]
        precision, reached = sum(taken) / len(taken), sum(taken) / sum(truths)
        total, recall = total + (reached - recall) * precision, reached
    return total


IMAGES = st.lists(st.tuples(st.sampled_from([-2.0, -0.5, 0.0, 0.1, 3.0, 8.0]), st.booleans()), min_size=1, max_size=30)


@settings(max_examples=200, deadline=None, derandomize=True)
@given(IMAGES)
def test_average_precision_is_its_definition(images: list[tuple[float, bool]]) -> None:
    scores, truths = (list(column) for column in zip(*images, strict=True))
    found = average_precision(np.array(scores), np.array(truths))
    if not any(truths):
        assert found is None
    else:
        assert found == pytest.approx(by_definition(scores, truths), abs=1e-12)


def test_average_precision_is_scikit_learns() -> None:
    metrics = pytest.importorskip("sklearn.metrics", reason="needs the train extra")
    rng = np.random.default_rng(0)
    for size in (2, 7, 100):
        truths = rng.random(size) < 0.4
        truths[0] = True
        for scores in (rng.normal(size=size), np.round(rng.normal(size=size)), np.zeros(size)):
            assert average_precision(scores, truths) == pytest.approx(metrics.average_precision_score(truths, scores))


@pytest.mark.parametrize(
    ("scores", "truths", "expected"),
    [
        ([3, 2, 1], [1, 1, 0], 1.0),
        ([1, 2, 3], [1, 0, 0], 1 / 3),
        ([3, 2, 1], [1, 0, 1], (1 + 2 / 3) / 2),
        ([0, 0, 0, 0], [1, 0, 0, 0], 0.25),
        ([5], [0], None),
    ],
    ids=["perfect", "last", "first and last", "all equal", "no image shows it"],
)
def test_known_answers(scores: list[float], truths: list[int], expected: float | None) -> None:
    found = average_precision(np.array(scores, np.float32), np.array(truths, bool))
    assert found == (None if expected is None else pytest.approx(expected))


def test_the_mean_leaves_out_labels_that_no_image_shows() -> None:
    scores = np.array([[3, 0, 1], [2, 0, 2], [1, 0, 3]], np.float32)
    truths = np.array([[1, 0, 1], [1, 0, 0], [0, 0, 0]], bool)
    assert mean_average_precision(scores, truths) == pytest.approx((1 + 1 / 3) / 2)
    assert mean_average_precision(scores, np.zeros((3, 3), bool)) is None


def test_mean_absolute_error_keeps_the_unit() -> None:
    assert mean_absolute_error(np.array([[1.0], [5.0]]), np.array([[2.0], [2.0]])) == 2.0


def test_other_shapes_and_values_are_refused() -> None:
    with pytest.raises(OnnxplainError, match=r"found shapes \(2,\) and \(3,\), expected \(N,\) twice"):
        average_precision(np.zeros(2), np.zeros(3, bool))
    with pytest.raises(OnnxplainError, match="NaN or infinity"):
        average_precision(np.array([np.nan]), np.ones(1, bool))
    with pytest.raises(OnnxplainError, match="expected the same, not empty"):
        mean_absolute_error(np.zeros((2, 1)), np.zeros(2))
