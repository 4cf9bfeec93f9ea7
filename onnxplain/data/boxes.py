"""Box arithmetic that training and evaluation share."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from onnxplain.runtime.box import paired_iou

__all__ = ["HIT_IOU", "cxcywh_to_xyxy", "paired_iou", "xyxy_to_cxcywh"]

HIT_IOU = 0.5
"""A box counts as found if its intersection over union is at least this."""


def xyxy_to_cxcywh(boxes_xyxy: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    """Corners (N, 4) → centre, width and height (N, 4), in the same units."""
    low, high = boxes_xyxy[:, :2], boxes_xyxy[:, 2:]
    return np.concatenate([(low + high) / 2, high - low], axis=1)


def cxcywh_to_xyxy(boxes_cxcywh: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    """Centre, width and height (N, 4) → corners (N, 4), in the same units."""
    centre, half = boxes_cxcywh[:, :2], boxes_cxcywh[:, 2:] / 2
    return np.concatenate([centre - half, centre + half], axis=1)
