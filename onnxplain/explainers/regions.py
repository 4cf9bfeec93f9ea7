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

# With fewer regions, the background among them, each is measured by itself.
_FEW_REGIONS = 9


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
    count, labels = cv2.connectedComponents(hot.astype(np.uint8), connectivity=8)
    measure = _measure_each if count <= _FEW_REGIONS else _measure_all
    stats, score = measure(heatmap_hw, np.asarray(labels), count)
    x, y, width, height, area = stats.T
    order = np.lexsort((-score, -area))
    xyxy = np.stack([x, y, x + width, y + height], axis=1)[order].astype(np.float32)
    return Regions(xyxy, score[order], area[order], level)


Measures = tuple[npt.NDArray[np.int64], npt.NDArray[np.float32]]


def _measure_each(heatmap_hw: npt.NDArray[np.floating], labels_hw: npt.NDArray[np.int32], count: int) -> Measures:
    """x, y, width, height and area of each region, (M, 5), and the largest heat inside it, (M,): one after the other.

    Regions have the labels 1 … `count` − 1. This is several times as fast as `_measure_all` where there are few.
    """
    stats, score = [], []
    for label in range(1, count):
        inside = (labels_hw == label).view(np.uint8)
        x, y, width, height = cv2.boundingRect(inside)
        box = slice(y, y + height), slice(x, x + width)
        stats.append((x, y, width, height, cv2.countNonZero(inside)))
        score.append((heatmap_hw[box] * inside[box]).max())
    return np.asarray(stats, np.int64).reshape(-1, 5), np.asarray(score, np.float32)


def _measure_all(heatmap_hw: npt.NDArray[np.floating], labels_hw: npt.NDArray[np.int32], count: int) -> Measures:
    """The same, with one pass over the map for all regions."""
    _, labels, stats, _ = cv2.connectedComponentsWithStats((labels_hw > 0).astype(np.uint8), connectivity=8)
    labels_hw = np.asarray(labels)
    score = np.zeros(count, np.float32)
    for rows in bands(*labels_hw.shape):
        inside = labels_hw[rows] > 0
        np.maximum.at(score, labels_hw[rows][inside].astype(np.intp), heatmap_hw[rows][inside].astype(np.float32))
    # Row 0 of OpenCV's statistics is the background.
    return np.asarray(stats, np.int64)[1:], score[1:]
