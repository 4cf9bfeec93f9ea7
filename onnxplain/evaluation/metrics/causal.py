"""Insertion and deletion (Petsiuk et al., RISE, 2018): does the score depend on the hot pixels?"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeAlias

import cv2
import numpy as np
import numpy.typing as npt

from onnxplain.errors import OnnxplainError
from onnxplain.runtime.arrays import DoubleArray, FloatArray

# A batch of normalised inputs, float32 (N, C, h, w) → softmax scores, float32 (N, classes): `Engine.scores`.
InputScores: TypeAlias = Callable[[FloatArray], FloatArray]

# As in the authors' code: 224 · 8 pixels per step at 224 × 224, and the blur of the image that insertion starts from.
ROWS_PER_STEP = 8
# The share of a step there, 1/28: on a smaller input, 8 rows would be as large as an object.
LEAST_STEPS = 28
BLUR_SIDE, BLUR_SIGMA = 11, 5.0


@dataclass(frozen=True, eq=False)
class CausalCurves:
    """The score of the explained class while pixels are changed, the hottest first.

    `insertion`, `deletion`: float64 (S + 1,), the score after 0 … S steps; insertion ends and deletion begins with the
    score of the whole image. Raises OnnxplainError for arrays of another shape or type, and for scores that are not
    finite.
    """

    insertion: DoubleArray
    deletion: DoubleArray

    def __post_init__(self) -> None:
        for name, curve in (("insertion", self.insertion), ("deletion", self.deletion)):
            if curve.dtype != np.float64 or curve.shape != (len(self.insertion),) or len(curve) < 2:
                raise OnnxplainError(f"{name}: found {curve.dtype} {curve.shape}, expected float64 (S + 1,), S ≥ 1")
            if not np.isfinite(curve).all():
                raise OnnxplainError(f"{name}: the model gave NaN or infinity, expected finite scores")

    @property
    def insertion_auc(self) -> float:
        """Area under the insertion curve of width 1; higher is better."""
        return area_under(self.insertion)

    @property
    def deletion_auc(self) -> float:
        """Area under the deletion curve of width 1; lower is better."""
        return area_under(self.deletion)


def causal_curves(
    scores: InputScores, input_chw: FloatArray, heat_hw: FloatArray, class_id: int, batch_size: int = 8
) -> CausalCurves:
    """The curves of one explanation, in the frame of the model's input.

    `input_chw`: float32 (C, h, w), normalised, as `Engine.preprocess` gives it; `heat_hw`: float32 (h, w), as
    `Frame.map_to_input` makes it from `heatmap` (not from `raw`: the map that users see is measured, the same way for
    every method); `class_id`: the explained class, in the paper the predicted one.
    Deletion sets pixels of the normalised input to 0; insertion starts from its `blur_input`. Steps: see
    `change_curve`. Raises OnnxplainError for maps and inputs of different sizes and for heat or scores that are not
    finite.
    """
    blurred, zeros = blur_input(input_chw), np.zeros_like(input_chw)
    return CausalCurves(
        insertion=change_curve(scores, blurred, input_chw, heat_hw, class_id, batch_size),
        deletion=change_curve(scores, input_chw, zeros, heat_hw, class_id, batch_size),
    )


def change_curve(
    scores: InputScores,
    start_chw: FloatArray,
    finish_chw: FloatArray,
    heat_hw: FloatArray,
    column: int,
    batch_size: int = 8,
) -> DoubleArray:
    """The score in a column while `start_chw` becomes `finish_chw`, the hottest pixels first: float64 (S + 1,).

    `pixels_per_step` pixels per step; the last step may have fewer. `batch_size` copies are made at a time, so memory
    does not grow with S. In a map without heat all pixels are equal (see `salient_order`). Raises OnnxplainError for
    heat of another size, or that is not finite.
    """
    height, width = start_chw.shape[1:]
    if heat_hw.shape != (height, width) or not np.isfinite(heat_hw).all():
        raise OnnxplainError(f"heat: found {heat_hw.shape}, expected finite values ({height}, {width}) as the input")
    if batch_size < 1:
        raise OnnxplainError(f"batch_size: found {batch_size}, expected at least 1")
    # The step, counted from 0, in which each pixel is changed.
    step_of = np.empty(height * width, np.int64)
    step_of[salient_order(heat_hw)] = np.arange(height * width) // pixels_per_step(height, width)
    step_hw = step_of.reshape(height, width)
    steps = int(step_hw.max()) + 1
    curve = np.empty(steps + 1)
    for first in range(0, steps + 1, batch_size):
        done = np.arange(first, min(first + batch_size, steps + 1))
        changed_nhw = step_hw < done[:, None, None]
        copies = np.where(changed_nhw[:, None], finish_chw, start_chw)
        curve[first : first + len(done)] = scores(copies)[:, column]
    return curve


def pixels_per_step(height: int, width: int) -> int:
    """``min(8 w, ⌈h w / 28⌉)``: the authors' 8 rows, and never more than their share of the pixels at 224 × 224."""
    return min(ROWS_PER_STEP * width, -(-height * width // LEAST_STEPS))


def salient_order(heat_hw: FloatArray) -> npt.NDArray[np.int64]:
    """Indices of the flattened pixels by descending heat, int64 (h · w,): the authors' ``np.flip(np.argsort(heat))``.

    In their sort the order of equal pixels depends on numpy and the processor. This sort is stable: of equal pixels
    the last one comes first on every machine.
    """
    return np.flip(np.argsort(heat_hw, axis=None, kind="stable"))


def blur_input(input_chw: FloatArray) -> FloatArray:
    """Each channel convolved with the authors' kernel, with zeros outside the border: float32 (C, h, w).

    The kernel is scipy's Gaussian filter of sigma 5 applied to one point in an 11 × 11 image. scipy reflects at the
    border, so the kernel is flatter than a Gaussian and sums to 1.
    """
    from scipy.ndimage import gaussian_filter1d

    point = np.zeros(BLUR_SIDE)
    point[BLUR_SIDE // 2] = 1
    kernel = gaussian_filter1d(point, BLUR_SIGMA)
    blurred = [cv2.sepFilter2D(channel, -1, kernel, kernel, borderType=cv2.BORDER_CONSTANT) for channel in input_chw]
    return np.stack(blurred).astype(np.float32, copy=False)


def area_under(curve: DoubleArray) -> float:
    """The authors' normalised area by the trapezoid rule, ``(Σ s − s_0 / 2 − s_S / 2) / S``."""
    return float((curve.sum() - curve[0] / 2 - curve[-1] / 2) / (len(curve) - 1))
