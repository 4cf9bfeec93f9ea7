"""The input of the metrics for one box: the map of a detection, and the true boxes around it."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
import numpy.typing as npt

from onnxplain.evaluation.boxes.box_curves import detection_curves
from onnxplain.evaluation.metrics.baselines import SIGMA_SHARE
from onnxplain.evaluation.metrics.causal import CausalCurves
from onnxplain.runtime.arrays import FloatArray
from onnxplain.runtime.box import Corners
from onnxplain.runtime.detection.detector import Detector
from onnxplain.runtime.detection.watched import WatchedDetections
from onnxplain.runtime.geometry import Frame


@dataclass(frozen=True, eq=False)
class FoundBox:
    """A true box that a detection finds. `own_xyxy`: the true box, float32 (1, 4), pixels of the image; `others_xyxy`:
    all other true boxes of its class in the image, float32 (T, 4). `box_xyxy`, `class_id`: of the detection.

    `input_chw`: the image as model input, and its `frame`.
    """

    detector: Detector
    own_xyxy: FloatArray
    others_xyxy: FloatArray
    box_xyxy: Corners
    class_id: int
    input_chw: FloatArray
    frame: Frame

    @cached_property
    def watched(self) -> WatchedDetections:
        """The detection in pixels of the model's input."""
        boxes = np.asarray(self.frame.boxes_to_input([self.box_xyxy]), np.float32)
        return WatchedDetections(boxes, np.array([self.class_id], np.int64))


@dataclass(frozen=True, eq=False)
class BoxMap:
    """A map of a found box. `heatmap_hw`: float32 (H, W) in [0, 1], the size of the image."""

    found: FoundBox
    heatmap_hw: npt.NDArray[np.float32]

    @cached_property
    def curves(self) -> CausalCurves:
        """The curves of insertion and deletion."""
        heat_hw = self.found.frame.map_to_input(self.heatmap_hw)
        return detection_curves(self.found.detector, self.found.watched, self.found.input_chw, heat_hw)


def box_gaussian(size_hw: tuple[int, int], box_xyxy: Corners) -> FloatArray:
    """A map that knows the box and nothing else: a Gaussian in its middle, sigma a quarter of its sides.

    float32 (H, W), its maximum 1.
    """
    x1, y1, x2, y2 = box_xyxy
    along = []
    for side, low, high in ((size_hw[0], y1, y2), (size_hw[1], x1, x2)):
        sigma = SIGMA_SHARE * max(high - low, 1.0)
        along.append(np.exp(-((np.arange(side) + 0.5 - (low + high) / 2) ** 2) / (2 * sigma**2)))
    heat = np.outer(*along)
    heatmap: FloatArray = (heat / heat.max()).astype(np.float32)
    return heatmap
