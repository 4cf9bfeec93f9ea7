from __future__ import annotations

import numpy as np
import pytest
from scipy.special import expit
from scipy.special import softmax as scipy_softmax

from onnxplain.contract import ScoreForm
from onnxplain.runtime.scores import as_rows, probabilities, sigmoid, softmax, stored_scores


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
    assert as_rows(output).dtype == np.float32
    assert as_rows(output).tolist() == np.arange(12).reshape(2, 6).tolist()


@pytest.mark.parametrize("magnitude", [1, 30, 100, 1e4])
def test_sigmoid_keeps_both_tails(magnitude):
    logits = np.linspace(-magnitude, magnitude, 41, dtype=np.float32)
    scores = sigmoid(logits)
    assert scores.dtype == np.float32
    np.testing.assert_allclose(scores, expit(logits.astype(np.float64)), rtol=2e-6, atol=1e-38)


@pytest.mark.parametrize(
    ("output", "form", "expected"),
    [
        (np.float32([[25, 75]]), ScoreForm(factor=100), [[0.25, 0.75]]),
        (np.log(np.float32([[0.25, 0.75]])), ScoreForm(log=True), [[0.25, 0.75]]),
        (np.float16([[0.25, 0.5]]), ScoreForm(), [[0.25, 0.5]]),
        (np.uint8([[64, 128]]), ScoreForm(factor=256), [[0.25, 0.5]]),
        (np.int8([[-64, 0]]), ScoreForm(factor=256), [[0.25, 0.5]]),
    ],
)
def test_scores_as_they_are_stored(output, form, expected):
    scores = stored_scores(output, form)
    assert scores.dtype == np.float32
    np.testing.assert_allclose(scores, expected, rtol=1e-6)


def test_probabilities_of_integers_sum_to_one():
    np.testing.assert_allclose(probabilities(np.array([[192, 64]], np.uint8)), [[0.75, 0.25]])
    np.testing.assert_allclose(probabilities(np.array([[64, -64]], np.int8)), [[0.75, 0.25]])
    np.testing.assert_allclose(probabilities(np.zeros((1, 4), np.uint8)), np.zeros((1, 4)))
    assert probabilities(np.array([[0.5, 0.25]], np.float16)).tolist() == [[0.5, 0.25]]
