"""The paper's simple aggregations: warp the maps of the copies back to the image, then take the mean or maximum."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

import cv2
import numpy as np

from onnxplain.explainers.augmented.random_copies import Transforms, count_from_centres
from onnxplain.runtime.arrays import FloatArray
from onnxplain.runtime.geometry import cell_matrix

if TYPE_CHECKING:
    from onnxplain.contract import MapFrame

Aggregation = Literal["mean", "max"]


def aggregate(
    maps_lhw: FloatArray,
    transforms: Transforms,
    input_size_hw: tuple[int, int],
    aggregation: Aggregation,
    frame: MapFrame | None = None,
) -> FloatArray:
    """Mean or maximum at each pixel over the copies that show it: float32 (H, W) (Morbidelli et al. 2020).

    `maps_lhw`: float32 (L, h, w), not negative, enlarged bilinearly before they are warped back; `transforms`:
    float64 (L, 2, 3) of `RandomCopies.draw`, in the same order; `frame`: where the maps lie in a copy, None: spread
    over the whole of it. A copy that does not show a pixel is left out
    there; a pixel that none shows is 0.
    """
    height, width = input_size_hw
    x, y = np.arange(width) + 0.5, np.arange(height)[:, None] + 0.5
    (top, bottom), (left, right) = ((0, height), (0, width)) if frame is None else frame.seen_hw
    total, count = np.zeros(input_size_hw, np.float32), np.zeros(input_size_hw, np.float32)
    for map_hw, transform in zip(maps_lhw, transforms, strict=True):
        enlarged = _enlarge(map_hw, input_size_hw, frame)
        returned = cv2.warpAffine(
            enlarged, count_from_centres(transform), (width, height), borderMode=cv2.BORDER_REPLICATE
        )
        turn_back = np.linalg.inv(transform[:, :2])
        shift_x, shift_y = turn_back @ -transform[:, 2]
        x_copy = turn_back[0, 0] * x + turn_back[0, 1] * y + shift_x
        y_copy = turn_back[1, 0] * x + turn_back[1, 1] * y + shift_y
        shown = (x_copy >= max(left, 0)) & (x_copy <= min(right, width))
        shown &= (y_copy >= max(top, 0)) & (y_copy <= min(bottom, height))
        returned *= shown
        count += shown
        total = total + returned if aggregation == "mean" else np.maximum(total, returned)
    if aggregation == "mean":
        total /= np.maximum(count, 1)
    return total


def _enlarge(map_hw: FloatArray, input_size_hw: tuple[int, int], frame: MapFrame | None) -> FloatArray:
    height, width = input_size_hw
    if frame is None:
        return np.asarray(cv2.resize(map_hw, (width, height), interpolation=cv2.INTER_LINEAR), np.float32)
    rows = cell_matrix(height, (1.0, 0.0), map_hw.shape[0], height, frame.rows)
    columns = cell_matrix(width, (1.0, 0.0), map_hw.shape[1], width, frame.columns)
    return np.asarray(rows @ map_hw @ columns.T, np.float32)
