"""Boxes from a heatmap: the connected regions above a level."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import cv2
import numpy as np
import numpy.typing as npt

from onnxplain.contract.arguments import checked
from onnxplain.errors import OnnxplainError
from onnxplain.explainers.stable_threshold import stable_threshold
from onnxplain.runtime.image import bands

if TYPE_CHECKING:
    import supervision

CAM_THRESHOLD = 0.15
RISE_THRESHOLD = 0.5

Threshold = float | Literal["stable"]


@dataclass(frozen=True, eq=False)
class Regions:
    """The connected regions of a heatmap at or above `level`, largest first (for equal areas, hottest first).

    `xyxy`: float32 (M, 4), x1, y1, x2, y2 in pixels of the heatmap, so x2 − x1 is the width in pixels.
    `score`: float32 (M,), the largest heat inside the region.
    `area`: int64 (M,), the pixels of the region (not of its box).
    `level`: the heat at which the map was cut.
    Raises OnnxplainError if the arrays differ in length.
    """

    xyxy: npt.NDArray[np.float32]
    score: npt.NDArray[np.float32]
    area: npt.NDArray[np.int64]
    level: float

    def __post_init__(self) -> None:
        count = len(self.xyxy)
        if self.xyxy.shape != (count, 4) or self.score.shape != (count,) or self.area.shape != (count,):
            raise OnnxplainError(
                f"regions: found xyxy {self.xyxy.shape}, score {self.score.shape}, area {self.area.shape}, "
                "expected (M, 4), (M,) and (M,)"
            )

    def __len__(self) -> int:
        return len(self.xyxy)

    def to_supervision(self) -> supervision.Detections:
        """The regions as `supervision.Detections`: xyxy, confidence = score, and `area` in its data.

        Raises OnnxplainError if the package supervision is not installed.
        """
        try:
            import supervision
        except ImportError as error:
            raise OnnxplainError(
                "supervision: found no such package, expected it for to_supervision(): run `pip install supervision`"
            ) from error
        return supervision.Detections(xyxy=self.xyxy, confidence=self.score, data={"area": self.area})


@checked
def find_regions(heatmap_hw: npt.NDArray[np.floating], threshold: Threshold) -> Regions:
    """Cut a heatmap (H, W) at `threshold` times its maximum; one box per 8-connected region.

    As in Zhou et al. 2016, section 3.2, but with all regions instead of only the largest. `threshold` lies in (0, 1];
    the Grad-CAM paper uses 0.15. ``"stable"``: the `stable_threshold` of the heatmap, at which the largest region's
    box changes least; it uses no labels. A map whose maximum is 0 has no regions. Raises OnnxplainError for another
    threshold, a shape that is not (H, W), NaN, infinite or negative heat.
    """
    if threshold != "stable" and (isinstance(threshold, str) or not 0 < threshold <= 1):
        raise OnnxplainError(
            f"threshold: found {threshold}, expected a share of the heatmap's maximum, above 0 and at most 1, or "
            "'stable'"
        )
    if heatmap_hw.ndim != 2 or heatmap_hw.size == 0:
        raise OnnxplainError(f"heatmap: found shape {heatmap_hw.shape}, expected (H, W)")
    peak = float(heatmap_hw.max())
    if not (np.isfinite(peak) and heatmap_hw.min() >= 0):
        raise OnnxplainError("heatmap: found NaN, infinite or negative heat, expected finite values from 0 up")
    if threshold == "stable":
        threshold = stable_threshold(heatmap_hw) if peak > 0 else 1.0
    level = threshold * peak
    hot = (heatmap_hw >= level) & (heatmap_hw > 0)
    count, labels, stats, _ = cv2.connectedComponentsWithStats(hot.astype(np.uint8), connectivity=8)
    score = np.zeros(count, np.float32)
    for rows in bands(*hot.shape):
        inside = hot[rows]
        np.maximum.at(score, labels[rows][inside].astype(np.intp), heatmap_hw[rows][inside].astype(np.float32))
    # Row 0 of OpenCV's statistics is the background.
    score = score[1:]
    x, y, width, height, area = stats[1:].astype(np.int64).T
    order = np.lexsort((-score, -area))
    xyxy = np.stack([x, y, x + width, y + height], axis=1)[order].astype(np.float32)
    return Regions(xyxy, score[order], area[order], level)
