"""Convert class outputs of any shape and type to float32 rows of logits or probabilities."""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt

from onnxplain.runtime.arrays import FloatArray

CLASS_DTYPES = (np.float16, np.float32, np.float64, np.uint8, np.int8)

# ONNX and TFLite quantize a softmax to int8 with zero point -128: the same 256 steps as uint8.
_INT8_ZERO = 128


def as_rows(output: npt.NDArray[np.generic]) -> FloatArray:
    """A class output (N, C), (N, C, 1, 1), … as float32 (N, C)."""
    return output.reshape(len(output), -1).astype(np.float32)


def softmax(logits: FloatArray) -> FloatArray:
    """Softmax of each row (N, C) in float32. Rows that are not finite give NaN, without a warning."""
    with np.errstate(invalid="ignore", over="ignore"):
        exponentials = np.exp(logits - logits.max(axis=1, keepdims=True))
        scores: FloatArray = exponentials / exponentials.sum(axis=1, keepdims=True)
    return scores


def probabilities(output: npt.NDArray[np.generic]) -> FloatArray:
    """A softmax output as float32 (N, C). Integer rows, in steps of about 1/256, are divided by their sum."""
    rows = as_rows(output)
    if not np.issubdtype(output.dtype, np.integer):
        return rows
    rows = rows + _INT8_ZERO if output.dtype == np.int8 else rows
    shares: FloatArray = rows / np.maximum(rows.sum(axis=1, keepdims=True), 1)
    return shares


def looks_like_classes(output: object) -> bool:
    """Whether an output holds one row of at least two numbers per image."""
    if not isinstance(output, np.ndarray) or output.dtype not in CLASS_DTYPES or output.ndim < 2:
        return False
    sides = tuple(int(side) for side in output.shape[1:])
    return max(sides) >= 2 and max(sides) == math.prod(sides)


def looks_like_softmax(output: npt.NDArray[np.generic]) -> bool:
    """Whether each row is a probability distribution, up to the rounding of its type."""
    rows = as_rows(output)
    if np.issubdtype(output.dtype, np.integer):
        rows = rows + _INT8_ZERO if output.dtype == np.int8 else rows
        # Each class is rounded by at most half a step of 1/255 or 1/256.
        return bool(np.all(np.abs(rows.sum(axis=1) - 255.5) <= 1 + rows.shape[1] / 2))
    tolerance = 1e-2 if output.dtype == np.float16 else 1e-3
    return bool(rows.min() >= 0 and np.all(np.abs(rows.sum(axis=1) - 1) <= tolerance))
