"""MaxBoxAcc and MaxBoxAccV2: the boxes of one heatmap at every threshold, compared with the true boxes.

The conventions are those of the benchmark's own code (github.com/clovaai/wsolevaluation), so the numbers are the same.
Choe et al., Evaluating Weakly Supervised Object Localization Methods Right, CVPR 2020 (MaxBoxAcc, equation 2); Choe et
al., Evaluation for Weakly Supervised Object Localization: Protocol, Metrics, and Datasets, 2020 (MaxBoxAccV2).
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
import numpy.typing as npt

from onnxplain.errors import OnnxplainError
from onnxplain.explainers.levels import LEVELS, cut_at_levels, largest_contour

SCOREMAP_HW = (224, 224)
V2_IOUS = (0.3, 0.5, 0.7)
NO_BOX = (0, 0, 0, 0)


@dataclass(frozen=True, eq=False)
class LevelOverlaps:
    """How well one heatmap's boxes fit at each cut 0…254 of its 8-bit form.

    `largest`: float32 (255,), best IoU of the largest contour's box with any true box (MaxBoxAcc); `any_region`:
    float32 (255,), best IoU of any contour's box with any true box (MaxBoxAccV2).
    Both are quotients of integers below 2¹⁷; float32 can compare these exactly with thresholds of three decimals.
    Raises OnnxplainError for other shapes or types.
    """

    largest: npt.NDArray[np.float32]
    any_region: npt.NDArray[np.float32]

    def __post_init__(self) -> None:
        for name, overlap in (("largest", self.largest), ("any_region", self.any_region)):
            if overlap.shape != (LEVELS,) or overlap.dtype != np.float32:
                raise OnnxplainError(
                    f"level overlaps: found {name} {overlap.dtype} {overlap.shape}, expected float32 ({LEVELS},)"
                )

    def hits(self, iou: float = 0.5) -> npt.NDArray[np.bool_]:
        """For each cut, whether the largest contour's box has at least this IoU: bool (255,)."""
        return self.largest >= np.float32(iou)

    def any_hits(self, iou: float) -> npt.NDArray[np.bool_]:
        """For each cut, whether the box of any contour has at least this IoU: bool (255,)."""
        return self.any_region >= np.float32(iou)


def level_overlaps(
    heatmap_hw: npt.NDArray[np.floating], boxes_xyxy: npt.NDArray[np.floating], size_hw: tuple[int, int]
) -> LevelOverlaps:
    """Cut a heatmap at all levels and compare the boxes with the true boxes.

    `heatmap_hw`: float (h, w) of any size, covering the whole image of `size_hw` pixels; `boxes_xyxy`: (M, 4), M ≥ 1,
    half-open pixels of that image. The map becomes a `scoremap` of 224 × 224, then ``uint8(255 · s)``. The benchmark
    has 1,000 thresholds t of 0, 0.001 … 0.999 and cuts at ``s > int(255 · t)``. These are the levels 0…254, so each
    level is cut once. The box of a contour reaches from its first pixel to the pixel after its last, but not beyond the
    map's last pixel; its sides then count both ends (IoU with + 1). Without a contour the box is (0, 0, 0, 0).
    Raises OnnxplainError if there is no true box.
    """
    truths = _resize_boxes(boxes_xyxy, size_hw)
    chiefs, regions, firsts, widths = [], [], [], []
    found = 0
    for levels, contours in cut_at_levels((scoremap(heatmap_hw) * 255).astype(np.uint8)):
        boxes = [cv2.boundingRect(contour) for contour in contours] or [NO_BOX]
        chiefs.append(cv2.boundingRect(largest_contour(contours)) if contours else NO_BOX)
        regions.append(np.array(boxes))
        firsts.append(found)
        widths.append(len(levels))
        found += len(boxes)
    largest = _best_overlaps(np.array(chiefs), truths)
    any_region = np.maximum.reduceat(_best_overlaps(np.concatenate(regions), truths), firsts)
    return LevelOverlaps(*(np.repeat(overlap, widths).astype(np.float32) for overlap in (largest, any_region)))


def scoremap(heatmap_hw: npt.NDArray[np.floating]) -> npt.NDArray[np.floating]:
    """A heatmap as the benchmark stores it: (224, 224) in [0, 1], float32 (float64 where the heatmap is).

    Resized by bicubic interpolation if it has another size; then its minimum is subtracted and it is divided by its
    maximum. A constant map, or one that is not finite, gives zeros.
    """
    if heatmap_hw.ndim != 2 or heatmap_hw.size == 0:
        raise OnnxplainError(f"heatmap: found shape {heatmap_hw.shape}, expected (H, W)")
    kind = np.float64 if heatmap_hw.dtype == np.float64 else np.float32
    map_hw = heatmap_hw.astype(np.float64)
    # Check before resizing: its rounding errors would make a constant map vary.
    if not np.isfinite(map_hw).all() or map_hw.min() == map_hw.max():
        return np.zeros(SCOREMAP_HW, kind)
    if map_hw.shape != SCOREMAP_HW:
        map_hw = cv2.resize(map_hw, SCOREMAP_HW[::-1], interpolation=cv2.INTER_CUBIC).astype(np.float64, copy=False)
    map_hw -= map_hw.min()
    peak = map_hw.max()
    scores_hw: npt.NDArray[np.floating] = (map_hw / peak if peak > 0 else map_hw).astype(kind)
    return scores_hw


def _resize_boxes(boxes_xyxy: npt.NDArray[np.floating], size_hw: tuple[int, int]) -> npt.NDArray[np.int64]:
    """Half-open boxes of the image → whole pixels of the scoremap, with the last pixel included."""
    boxes = np.asarray(boxes_xyxy, np.float64)
    if boxes.ndim != 2 or boxes.shape[1] != 4 or not len(boxes):
        raise OnnxplainError(f"boxes: found shape {boxes.shape}, expected (M, 4) with at least one box")
    last = np.maximum(boxes[:, 2:] - 1, boxes[:, :2])
    sides_xy, scoremap_xy = np.array(size_hw[::-1] * 2), np.array(SCOREMAP_HW[::-1] * 2)
    # The benchmark's order of operations: truncation needs exactly the same values.
    resized: npt.NDArray[np.int64] = (np.hstack([boxes[:, :2], last]) * scoremap_xy / sides_xy).astype(np.int64)
    return resized


def _best_overlaps(boxes_xywh: npt.NDArray[np.int64], truths: npt.NDArray[np.int64]) -> npt.NDArray[np.float64]:
    """IoU (K,) of each contour's box with its best true box; sides count both ends."""
    height, width = SCOREMAP_HW
    x0, y0 = boxes_xywh[:, 0], boxes_xywh[:, 1]
    x1, y1 = np.minimum(x0 + boxes_xywh[:, 2], width - 1), np.minimum(y0 + boxes_xywh[:, 3], height - 1)
    area = (x1 - x0 + 1) * (y1 - y0 + 1)
    best = np.zeros(len(boxes_xywh))
    for left, top, right, bottom in truths.tolist():
        columns = np.minimum(x1, right) - np.maximum(x0, left) + 1
        rows = np.minimum(y1, bottom) - np.maximum(y0, top) + 1
        common = np.maximum(columns, 0) * np.maximum(rows, 0)
        truth_area = (right - left + 1) * (bottom - top + 1)
        np.maximum(best, common / (area + truth_area - common), out=best)
    return best
