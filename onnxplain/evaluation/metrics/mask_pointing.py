"""Pointing game on masks: whether the hottest pixel is in the true mask of the class, and the share of heat there."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from onnxplain.data.class_mask import TruePixels
from onnxplain.errors import OnnxplainError


def mask_hit(heatmap_hw: npt.NDArray[np.floating], truth: TruePixels, tolerance: float = 0) -> bool:
    """Whether the hottest labelled pixel is in the mask, or less than `tolerance` pixels from it.

    The pointing game of Zhang et al., Top-down Neural Attention by Excitation Backprop, 2016, section 4.1, with masks.
    `heatmap_hw`: finite (H, W), the size of the masks. Pixels that are not labelled are left out. The distance is
    Euclidean, between centres of pixels; of equally hot pixels the first in reading order counts. A map that is
    constant on the labelled pixels has no hottest one and misses, as does a mask without a pixel. Raises
    OnnxplainError for another shape or heat that is not finite.
    """
    _check(heatmap_hw, truth)
    heat = heatmap_hw[truth.known]
    if not truth.shown.any() or heat.min() == heat.max():
        return False
    row, column = np.unravel_index(np.where(truth.known, heatmap_hw, -np.inf).argmax(), heatmap_hw.shape)
    if truth.shown[row, column]:
        return True
    rows, columns = truth.shown.nonzero()
    return bool(np.hypot(rows - row, columns - column).min() < tolerance)


def energy_in_mask(heatmap_hw: npt.NDArray[np.floating], truth: TruePixels) -> float:
    """The share of the heat on labelled pixels that is inside the mask, in [0, 1]: ``Σ_mask heat / Σ heat``.

    Arguments and errors as in `mask_hit`; the heat must be ≥ 0. A map without heat gives 0.
    """
    _check(heatmap_hw, truth)
    if heatmap_hw.min() < 0:
        raise OnnxplainError("heatmap: found negative heat, expected values of at least 0")
    total = float(heatmap_hw[truth.known].sum(dtype=np.float64))
    inside = float(heatmap_hw[truth.shown].sum(dtype=np.float64))
    return 0.0 if total == 0 else min(inside / total, 1.0)


def _check(heatmap_hw: npt.NDArray[np.floating], truth: TruePixels) -> None:
    if heatmap_hw.shape != truth.shown.shape or not heatmap_hw.size:
        raise OnnxplainError(f"heatmap: found shape {heatmap_hw.shape}, expected {truth.shown.shape} as the mask has")
    if not np.isfinite(heatmap_hw).all():
        raise OnnxplainError("heatmap: found NaN or infinite heat, expected finite values")
