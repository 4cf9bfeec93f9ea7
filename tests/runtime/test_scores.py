from __future__ import annotations

import numpy as np
import pytest
from scipy.special import softmax as scipy_softmax

from onnxplain.runtime.scores import as_rows, looks_like_classes, looks_like_softmax, probabilities, softmax


@pytest.mark.parametrize("magnitude", [1, 50, 1e4, 3e38])
def test_softmax_is_stable(magnitude):
    logits = np.random.default_rng(0).uniform(-1, 1, (4, 10)).astype(np.float32) * np.float32(magnitude)
    scores = softmax(logits)
    assert scores.dtype == np.float32
    np.testing.assert_allclose(scores, scipy_softmax(logits.astype(np.float64), axis=1), atol=1e-6)


def test_softmax_of_broken_logits_is_nan_without_a_warning():
    logits = np.array([[0, np.nan, 1], [np.inf, 0, 1], [0, 1, 2]], np.float32)
    scores = softmax(logits)
    assert np.isnan(scores[:2]).any(axis=1).all()
    assert np.isfinite(scores[2]).all()


@pytest.mark.parametrize("shape", [(2, 6), (2, 6, 1, 1), (2, 1, 1, 6), (2, 1, 6)])
def test_rows(shape):
    output = np.arange(12, dtype=np.float16).reshape(shape)
    assert looks_like_classes(output)
    assert as_rows(output).dtype == np.float32
    assert as_rows(output).tolist() == np.arange(12).reshape(2, 6).tolist()


@pytest.mark.parametrize(
    "output",
    [
        np.zeros((1, 4420, 2), np.float32),
        np.zeros((1, 85, 22, 22), np.float32),
        np.zeros((3, 1), np.float32),
        np.zeros(5, np.float32),
        np.zeros((1, 5), np.int64),
        [{0: 0.5}],
    ],
)
def test_no_class_outputs(output):
    assert not looks_like_classes(output)


# A thousand classes in steps of 1/256: most round to 0, and the sum stays far below 256.
FLAT = np.zeros((1, 1001), np.uint8)
FLAT[0, :5] = [100, 10, 3, 1, 1]


@pytest.mark.parametrize(
    ("output", "expected"),
    [
        (np.array([[0.25, 0.75]], np.float32), True),
        (np.array([[0.25, 0.755]], np.float16), True),
        (np.array([[0.25, 0.76]], np.float32), False),
        (np.array([[1.5, -0.5]], np.float32), False),
        (np.array([[0.5, 0.5], [0.5, 0.6]], np.float32), False),
        (np.array([[200, 56]], np.uint8), True),
        (np.array([[200, 55]], np.uint8), True),
        (np.array([[200, 20]], np.uint8), False),
        (np.array([[200, 100]], np.uint8), False),
        (np.array([[72, -72]], np.int8), True),
        (FLAT, True),
    ],
)
def test_distributions_are_told_from_logits(output, expected):
    assert looks_like_softmax(output) is expected


def test_probabilities_of_integers_sum_to_one():
    np.testing.assert_allclose(probabilities(np.array([[192, 64]], np.uint8)), [[0.75, 0.25]])
    np.testing.assert_allclose(probabilities(np.array([[64, -64]], np.int8)), [[0.75, 0.25]])
    np.testing.assert_allclose(probabilities(np.zeros((1, 4), np.uint8)), np.zeros((1, 4)))
    assert probabilities(np.array([[0.5, 0.25]], np.float16)).tolist() == [[0.5, 0.25]]
