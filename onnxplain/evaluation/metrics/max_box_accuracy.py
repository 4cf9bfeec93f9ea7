"""MaxBoxAcc and MaxBoxAccV2: the boxes of one heatmap at every threshold, against the boxes drawn by hand.

Conventions are those of the benchmark's own code (github.com/clovaai/wsolevaluation), so that its numbers come out.
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

    `largest`: float32 (255,), IoU of the largest contour's box with the ground-truth box that it fits best (MaxBoxAcc);
    `any_region`: float32 (255,), the same of whichever contour's box fits best (MaxBoxAccV2).
    Both are quotients of whole pixels below 2¹⁷, which float32 tells from any threshold of three decimals.
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
        """At which cuts the largest contour's box overlaps by at least `iou`: bool (255,)."""
        return self.largest >= np.float32(iou)

    def any_hits(self, iou: float) -> npt.NDArray[np.bool_]:
        """At which cuts the box of any contour overlaps by at least `iou`: bool (255,)."""
        return self.any_region >= np.float32(iou)


def level_overlaps(
    heatmap_hw: npt.NDArray[np.floating], boxes_xyxy: npt.NDArray[np.floating], size_hw: tuple[int, int]
) -> LevelOverlaps:
    """Cut a heatmap at all its levels and compare the boxes with those of the ground truth.

    `heatmap_hw`: float (h, w) of any size, spread over the whole image of `size_hw` pixels; `boxes_xyxy`: (M, 4), M ≥
    1, half-open pixels of that image. The map becomes a `scoremap` of 224 × 224, then ``uint8(255 · s)``; 1,000
    thresholds t of 0, 0.001 … 0.999 cut it at ``s > int(255 · t)``, which is each of 0…254, so that every cut is
    made once. The box of a contour reaches from its first pixel to the one behind its last, but not over the map's last
    pixel; its sides are then counted with both ends (IoU with + 1). Without a contour the box is (0, 0, 0, 0).
    Raises OnnxplainError where there is no box.
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

    Resized by bicubic interpolation where it has another size, then minus its minimum and divided by its maximum. A
    constant map, and one that is not finite, gives zeros.
    """
    if heatmap_hw.ndim != 2 or heatmap_hw.size == 0:
        raise OnnxplainError(f"heatmap: found shape {heatmap_hw.shape}, expected (H, W)")
    kind = np.float64 if heatmap_hw.dtype == np.float64 else np.float32
    map_hw = heatmap_hw.astype(np.float64)
    # Before resizing: its rounding makes a range where there was none.
    if not np.isfinite(map_hw).all() or map_hw.min() == map_hw.max():
        return np.zeros(SCOREMAP_HW, kind)
    if map_hw.shape != SCOREMAP_HW:
        map_hw = cv2.resize(map_hw, SCOREMAP_HW[::-1], interpolation=cv2.INTER_CUBIC).astype(np.float64, copy=False)
    map_hw -= map_hw.min()
    peak = map_hw.max()
    scores_hw: npt.NDArray[np.floating] = (map_hw / peak if peak > 0 else map_hw).astype(kind)
    return scores_hw


def _resize_boxes(boxes_xyxy: npt.NDArray[np.floating], size_hw: tuple[int, int]) -> npt.NDArray[np.int64]:
    """Half-open boxes of the image → whole pixels of the scoremap, last ones included."""
    boxes = np.asarray(boxes_xyxy, np.float64)
    if boxes.ndim != 2 or boxes.shape[1] != 4 or not len(boxes):
        raise OnnxplainError(f"boxes: found shape {boxes.shape}, expected (M, 4) with at least one box")
    last = np.maximum(boxes[:, 2:] - 1, boxes[:, :2])
    sides_xy, scoremap_xy = np.array(size_hw[::-1] * 2), np.array(SCOREMAP_HW[::-1] * 2)
    # The benchmark's order of operations: the truncation must see the same last bit.
    resized: npt.NDArray[np.int64] = (np.hstack([boxes[:, :2], last]) * scoremap_xy / sides_xy).astype(np.int64)
    return resized


def _best_overlaps(boxes_xywh: npt.NDArray[np.int64], truths: npt.NDArray[np.int64]) -> npt.NDArray[np.float64]:
    """IoU (K,) of each contour's box with the ground truth that it fits best, both ends counted."""
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
