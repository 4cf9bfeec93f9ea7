"""Find the threshold at which the box changes least, from the heatmap only, without labels.

This applies the idea of maximally stable extremal regions (Matas et al., Robust Wide Baseline Stereo from Maximally
Stable Extremal Regions, 2002) to boxes: the object's box stays the same when the threshold changes a little.
"""

from __future__ import annotations

import cv2
import numpy as np
import numpy.typing as npt

from onnxplain.explainers.levels import LEVELS, cut_at_levels, largest_contour
from onnxplain.runtime.box import paired_iou

STEP = 1.5
"""Stability at a threshold compares the boxes at `STEP` times the threshold and at the threshold divided by `STEP`."""

LOWEST = 0.15
"""The lowest threshold that is tried: the Grad-CAM paper's."""

WHOLE_IOU = 0.95
"""A box with at least this IoU with the box of all heat is not chosen: it only says "somewhere in the picture"."""

TINY = 0.001
"""A box below this share of the area of the box of all heat is not chosen: boxes of a few pixels are always stable."""

SEARCH_SIDE = 224
"""The search uses a map of at most this many pixels per side. Regions are then cut from the original map."""


def stable_threshold(heatmap_hw: npt.NDArray[np.floating]) -> float:
    """The share t of the maximum, in [0.15, 0.67], at which the largest region's box is most stable.

    It maximises ``IoU(box(t / 1.5), box(1.5 · t))`` over the levels of the map in 8 bits. If several are equally
    stable, it takes the middle one. box(t) is the box of the region with the largest area inside its outline. Boxes of
    nearly everything and of a few pixels are skipped, unless there are no others. `heatmap_hw`: (H, W), finite, ≥ 0,
    with a maximum above 0.
    """
    boxes_xyxy = boxes_of_levels(heatmap_hw)
    # Pixels above level c − 1 in 8 bits are those at or above the share c / 255.
    steps = np.arange(np.ceil(LOWEST * LEVELS), np.floor(LEVELS / STEP) + 1)
    box, lower, upper = (boxes_xyxy[np.rint(at).astype(int) - 1] for at in (steps, steps / STEP, steps * STEP))
    everything = np.broadcast_to(boxes_xyxy[0], box.shape)
    usable = (paired_iou(box, everything) < WHOLE_IOU) & (_area(box) >= TINY * _area(everything))
    stability = paired_iou(lower, upper)
    if usable.any():
        stability[~usable] = -1
    best = np.flatnonzero(stability == stability.max())
    return float(steps[best[len(best) // 2]] / LEVELS)


def boxes_of_levels(heatmap_hw: npt.NDArray[np.floating]) -> npt.NDArray[np.float64]:
    """The box of the largest region at or above each share 1/255 … 255/255 of the maximum: (255, 4) xyxy.

    In pixels of the map, or of its smaller copy. All 0 if no pixel of the copy is that hot.
    """
    small_hw: npt.NDArray[np.floating] = heatmap_hw.astype(np.float32)
    scale = SEARCH_SIDE / max(heatmap_hw.shape)
    if scale < 1:
        size_xy = [max(1, round(side * scale)) for side in heatmap_hw.shape[::-1]]
        small_hw = cv2.resize(small_hw, size_xy, interpolation=cv2.INTER_AREA).astype(np.float32, copy=False)
    levels_hw = (small_hw / np.float64(heatmap_hw.max()) * LEVELS).astype(np.uint8)
    boxes = np.zeros((LEVELS, 4))
    for levels, contours in cut_at_levels(levels_hw):
        if contours:
            x, y, width, height = cv2.boundingRect(largest_contour(contours))
            boxes[levels.start : levels.stop] = x, y, x + width, y + height
    return boxes


def _area(boxes_xyxy: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    area: npt.NDArray[np.float64] = (boxes_xyxy[:, 2:] - boxes_xyxy[:, :2]).prod(axis=1)
    return area
