"""Convert outputs of any shape and type to float32 scores: probabilities, and logits in rows."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import numpy.typing as npt

from onnxplain.contract import ScoreForm
from onnxplain.runtime.arrays import FloatArray

SMALLEST_INTEGER: Mapping[str, int] = {"uint8": 0, "int8": -128}
"""What ONNX and TFLite store a probability of 0 as, in the types of eight bits that outputs of scores have."""


def as_rows(output: npt.NDArray[np.generic]) -> FloatArray:
    """An output (N, C), (N, C, 1, 1), … as float32 (N, C)."""
    return output.reshape(len(output), -1).astype(np.float32)


def softmax(logits: FloatArray, axis: int = 1) -> FloatArray:
    """Softmax along an axis, of each row (N, C) by default, in float32.

    What is not finite gives NaN, without a warning.
    """
    with np.errstate(invalid="ignore", over="ignore"):
        scores: FloatArray = logits - logits.max(axis=axis, keepdims=True)
        # In place: black boxes spend a good part of their own time here.
        np.exp(scores, out=scores)
        scores /= scores.sum(axis=axis, keepdims=True)
    return scores


def sigmoid(logits: FloatArray) -> FloatArray:
    """1 / (1 + exp(−x)) of each number in float32; both tails keep their digits."""
    with np.errstate(over="ignore", invalid="ignore"):
        tails = np.exp(-np.abs(logits))
        scores: FloatArray = np.where(logits >= 0, 1 / (1 + tails), tails / (1 + tails)).astype(np.float32)
    return scores


def probabilities(output: npt.NDArray[np.generic], form: ScoreForm | None = None) -> FloatArray:
    """A softmax output as float32 (N, C). Integer rows, in steps of about 1/256, are divided by their sum."""
    if not np.issubdtype(output.dtype, np.integer):
        return stored_scores(as_rows(output), form or ScoreForm())
    rows = as_rows(output) - SMALLEST_INTEGER.get(output.dtype.name, 0)
    shares: FloatArray = rows / np.maximum(rows.sum(axis=1, keepdims=True), 1)
    return shares


def stored_scores(output: npt.NDArray[np.generic], form: ScoreForm) -> FloatArray:
    """Scores as float32, in the shape of the output that stores them: see `ScoreForm`."""
    scores: FloatArray = output.astype(np.float32) - np.float32(SMALLEST_INTEGER.get(output.dtype.name, 0))
    if form.log:
        scores = np.exp(scores)
    return scores if form.factor == 1 else scores / np.float32(form.factor)
