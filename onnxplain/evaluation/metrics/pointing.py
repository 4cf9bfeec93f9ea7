"""Pointing game: whether the hottest pixel is in a box, and the share of heat inside the boxes."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from onnxplain.errors import OnnxplainError

TOLERANCE = 15


def pointing_hit(
    heatmap_hw: npt.NDArray[np.floating], boxes_xyxy: npt.NDArray[np.floating], tolerance: float = TOLERANCE
) -> bool:
    """Whether the hottest pixel is in a box, or less than `tolerance` pixels from one.

    The pointing game of Zhang et al., Top-down Neural Attention by Excitation Backprop, 2016. `heatmap_hw`: finite
    (H, W) in the size of the original image; `boxes_xyxy`: (M, 4), half-open pixels, M ≥ 1. The distance is
    Euclidean, from the centre of the hottest pixel (of equal ones, the first in reading order) to the centre of the
    nearest pixel in the box. A constant map has no hottest pixel and misses. Raises OnnxplainError for maps or boxes of
    other shapes or with values that are not finite.
    """
    boxes = _checked_boxes(heatmap_hw, boxes_xyxy)
    if heatmap_hw.min() == heatmap_hw.max():
        return False
    row, column = np.unravel_index(heatmap_hw.argmax(), heatmap_hw.shape)
    point_xy = np.array([column, row]) + 0.5
    middle = (boxes[:, :2] + boxes[:, 2:]) / 2
    # In a box thinner than a pixel, the nearest point is its middle.
    first, last = np.minimum(boxes[:, :2] + 0.5, middle), np.maximum(boxes[:, 2:] - 0.5, middle)
    distance = np.linalg.norm(point_xy - np.clip(point_xy, first, last), axis=1).min()
    return bool(distance == 0 or distance < tolerance)


def energy_in_boxes(heatmap_hw: npt.NDArray[np.floating], boxes_xyxy: npt.NDArray[np.floating]) -> float:
    """The share of all heat that is inside the boxes, in [0, 1]: ``Σ heat · covered / Σ heat``.

    The energy-based pointing game of Wang et al., Score-CAM, 2020, section 4.3, for the union of all boxes. A pixel
    that is partly covered counts with the covered share. Arguments and errors as in `pointing_hit`; the heat must be
    ≥ 0. A map without heat gives 0.
    """
    boxes = _checked_boxes(heatmap_hw, boxes_xyxy)
    if heatmap_hw.min() < 0:
        raise OnnxplainError("heatmap: found negative heat, expected values of at least 0")
    total = float(heatmap_hw.sum(dtype=np.float64))
    if total == 0:
        return 0.0
    # The edges of all boxes divide the image into cells; each cell is covered completely or not at all.
    columns, rows = np.unique(boxes[:, ::2]), np.unique(boxes[:, 1::2])
    covered = np.zeros((len(rows) - 1, len(columns) - 1), bool)
    for x1, y1, x2, y2 in boxes:
        top, bottom = np.searchsorted(rows, [y1, y2])
        left, right = np.searchsorted(columns, [x1, x2])
        covered[top:bottom, left:right] = True
    height, width = heatmap_hw.shape
    cells = _coverage(rows, height) @ heatmap_hw.astype(np.float64) @ _coverage(columns, width).T
    return min(float(cells[covered].sum()) / total, 1.0)


def _coverage(edges: npt.NDArray[np.float64], side: int) -> npt.NDArray[np.float64]:
    """How much of pixel j lies between edge i and the next: (len(edges) − 1, side) in [0, 1]."""
    pixels = np.arange(side)
    common = np.minimum(edges[1:, None], pixels + 1) - np.maximum(edges[:-1, None], pixels)
    return common.clip(min=0)


def _checked_boxes(
    heatmap_hw: npt.NDArray[np.floating], boxes_xyxy: npt.NDArray[np.floating]
) -> npt.NDArray[np.float64]:
    if heatmap_hw.ndim != 2 or heatmap_hw.size == 0:
        raise OnnxplainError(f"heatmap: found shape {heatmap_hw.shape}, expected (H, W)")
    if not np.isfinite(heatmap_hw).all():
        raise OnnxplainError("heatmap: found NaN or infinite heat, expected finite values")
    boxes = np.asarray(boxes_xyxy, np.float64)
    if boxes.ndim != 2 or boxes.shape[1] != 4 or not len(boxes):
        raise OnnxplainError(f"boxes: found shape {boxes.shape}, expected (M, 4) with at least one box")
    return boxes
