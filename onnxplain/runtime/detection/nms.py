"""Non-maximum suppression: of boxes of one class that overlap, the best one stays."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from onnxplain.runtime.arrays import FloatArray

# Boxes compared at once. Larger blocks compare boxes that are dropped anyway, smaller ones cost more calls.
_BLOCK = 128


def suppress(
    boxes_xyxy: FloatArray, scores: FloatArray, groups: npt.NDArray[np.integer], max_iou: float
) -> npt.NDArray[np.int64]:
    """The boxes that stay, as indices int64 in order of their scores; equal scores in the order given.

    Greedy, as in Felzenszwalb et al. 2010: a box goes if its intersection over union with a better box that stays is
    above `max_iou`. `boxes_xyxy` (K, 4), `scores` (K,). Only boxes of equal `groups`, int (K,), are compared: classes,
    or classes of several images.
    """
    order = np.argsort(-scores, kind="stable")
    kept = np.empty(0, np.int64)
    for start in range(0, len(order), _BLOCK):
        block = order[start : start + _BLOCK]
        if kept.size:
            block = block[~_overlap(boxes_xyxy, groups, block, kept, max_iou).any(axis=1)]
        kept = np.concatenate([kept, block[_greedy(_overlap(boxes_xyxy, groups, block, block, max_iou))]])
    return kept


def _greedy(overlaps: npt.NDArray[np.bool_]) -> npt.NDArray[np.bool_]:
    """Which boxes of a block stay, best first."""
    stays = np.ones(len(overlaps), np.bool_)
    # Only boxes that overlap a later one can drop one.
    for index in np.flatnonzero(np.triu(overlaps, 1).any(axis=1)):
        if stays[index]:
            stays[index + 1 :] &= ~overlaps[index, index + 1 :]
    return stays


def _overlap(
    boxes_xyxy: FloatArray,
    groups: npt.NDArray[np.integer],
    rows: npt.NDArray[np.integer],
    columns: npt.NDArray[np.integer],
    max_iou: float,
) -> npt.NDArray[np.bool_]:
    """Whether each box of `rows` and each of `columns` are of one group and overlap by more than `max_iou`."""
    left, right = boxes_xyxy[rows, None].astype(np.float64), boxes_xyxy[None, columns].astype(np.float64)
    shared = (np.minimum(left[..., 2:], right[..., 2:]) - np.maximum(left[..., :2], right[..., :2])).clip(min=0)
    intersection = shared[..., 0] * shared[..., 1]
    union = _area(left) + _area(right) - intersection
    overlaps: npt.NDArray[np.bool_] = (intersection > max_iou * union) & (groups[rows, None] == groups[None, columns])
    return overlaps


def _area(boxes_xyxy: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    sides = (boxes_xyxy[..., 2:] - boxes_xyxy[..., :2]).clip(min=0)
    area: npt.NDArray[np.float64] = sides[..., 0] * sides[..., 1]
    return area
