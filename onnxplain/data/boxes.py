"""Box arithmetic that training and evaluation share."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt


def paired_iou(boxes_xyxy: npt.NDArray[np.floating], others_xyxy: npt.NDArray[np.floating]) -> npt.NDArray[np.float32]:
    """Intersection over union of row i with row i: two (N, 4) xyxy arrays → float32 (N,) in [0, 1].

    A box without area (x2 <= x1 or y2 <= y1) overlaps nothing.
    """
    boxes, others = np.asarray(boxes_xyxy, np.float64), np.asarray(others_xyxy, np.float64)
    corners = np.minimum(boxes[:, 2:], others[:, 2:]) - np.maximum(boxes[:, :2], others[:, :2])
    intersection = corners.clip(min=0).prod(axis=1)
    areas = [(sides[:, 2:] - sides[:, :2]).clip(min=0).prod(axis=1) for sides in (boxes, others)]
    union = areas[0] + areas[1] - intersection
    overlap = np.divide(intersection, union, out=np.zeros_like(union), where=union > 0)
    result: npt.NDArray[np.float32] = overlap.astype(np.float32)
    return result


def xyxy_to_cxcywh(boxes_xyxy: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    """Corners (N, 4) → centre, width and height (N, 4), in the same units."""
    low, high = boxes_xyxy[:, :2], boxes_xyxy[:, 2:]
    return np.concatenate([(low + high) / 2, high - low], axis=1)


def cxcywh_to_xyxy(boxes_cxcywh: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    """Centre, width and height (N, 4) → corners (N, 4), in the same units."""
    centre, half = boxes_cxcywh[:, :2], boxes_cxcywh[:, 2:] / 2
    return np.concatenate([centre - half, centre + half], axis=1)
