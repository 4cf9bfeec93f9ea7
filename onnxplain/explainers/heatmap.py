"""Turn a raw map in the frame of the model's input into a heatmap in [0, 1] over the original image.

There are two normalisations, one per family of methods. Both first place the map on the image, then normalise the part
that the model saw, so the hottest visible pixel is exactly 1. Both return a status instead of dividing by zero.
"""

from __future__ import annotations

from typing import Literal

import numpy as np

from onnxplain.contract import MapFrame
from onnxplain.runtime.arrays import FloatArray
from onnxplain.runtime.geometry import Frame
from onnxplain.runtime.image import bands

# Float32 boxes of large images are exact to about this.
_DECIMALS = 3

Status = Literal["ok", "no_positive_evidence", "constant", "non_finite"]


def relu_over_max(raw_hw: FloatArray, frame: Frame, map_frame: MapFrame | None = None) -> tuple[FloatArray, Status]:
    """The CAM family: ReLU(raw), laid over the image, divided by its maximum there (Selvaraju 2017, eq. 2).

    `raw_hw`: float32 (h, w), signed. `map_frame`: where it lies in the model's input; None: over the whole of it.
    Returns float32 (H, W) in [0, 1] at the size of the original image, 0 outside the part that the model, or the map,
    saw, and a status. Unless the status is "ok"
    the heatmap is all 0: "non_finite" where raw holds NaN or infinity, "no_positive_evidence" where nothing
    visible is positive, "constant" where every cell has the same positive value (a 1 × 1 grid always does),
    because such a map says nothing about *where*.
    """
    status: Status = "ok"
    heatmap = np.zeros(frame.image_size_hw, np.float32)
    if not np.isfinite(raw_hw).all():
        return heatmap, "non_finite"
    placed = frame.map_to_image(np.maximum(raw_hw, 0), map_frame)
    largest = placed.max()
    if largest <= 0:
        status = "no_positive_evidence"
    elif raw_hw.min() == raw_hw.max():
        status = "constant"
    else:
        placed /= largest
        heatmap = placed
    return heatmap, status


def minus_min_over_range(
    raw_hw: FloatArray, frame: Frame, map_frame: MapFrame | None = None
) -> tuple[FloatArray, Status]:
    """RISE: (raw − min) / (max − min), minimum and maximum taken over the visible part of the image.

    Shapes as in `relu_over_max`. Returns zeros and "constant" if all values are equal, zeros and "non_finite" if raw
    holds NaN or infinity.
    """
    heatmap = np.zeros(frame.image_size_hw, np.float32)
    if not np.isfinite(raw_hw).all():
        return heatmap, "non_finite"
    window = visible_window(frame, map_frame)
    if raw_hw.min() == raw_hw.max():
        return heatmap, "constant"
    # Centred first: placing a large constant in float32 would leave rounding noise in a nearly flat map.
    visible = frame.map_to_image(raw_hw.astype(np.float64) - raw_hw.mean(dtype=np.float64), map_frame)[window]
    if not visible.size:
        return heatmap, "constant"
    smallest, largest = np.float64(visible.min()), np.float64(visible.max())
    if largest <= smallest:
        return heatmap, "constant"
    seen = heatmap[window]
    for rows in bands(*visible.shape):
        seen[rows] = (visible[rows] - smallest) / (largest - smallest)
    return heatmap, "ok"


def visible_window(frame: Frame, map_frame: MapFrame | None = None) -> tuple[slice, slice]:
    """Rows and columns of the original image that the model, or the map, saw at least in part; elsewhere heat is 0."""
    x1, y1, x2, y2 = frame.visible_xyxy
    if map_frame is not None:
        (top, bottom), (left, right) = map_frame.seen_hw
        (seen,) = frame.boxes_to_image([[left, top, right, bottom]]).round(_DECIMALS).tolist()
        x1, y1, x2, y2 = max(x1, seen[0]), max(y1, seen[1]), min(x2, seen[2]), min(y2, seen[3])
    return slice(int(np.floor(y1)), int(np.ceil(y2))), slice(int(np.floor(x1)), int(np.ceil(x2)))
