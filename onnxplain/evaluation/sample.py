"""The input of metrics for one image: prediction, box or heatmap, together with the ground truth."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Literal

import numpy as np
import numpy.typing as npt

from onnxplain.data.class_mask import TruePixels
from onnxplain.data.record import Record
from onnxplain.errors import OnnxplainError
from onnxplain.evaluation.metrics.agreement import Agreement, measure_agreement
from onnxplain.evaluation.metrics.average_drop import explained_score
from onnxplain.evaluation.metrics.causal import CausalCurves, causal_curves
from onnxplain.evaluation.metrics.max_box_accuracy import LevelOverlaps, level_overlaps
from onnxplain.explainers.regions import find_regions
from onnxplain.runtime.arrays import FloatArray
from onnxplain.runtime.box import Corners, paired_iou
from onnxplain.runtime.results import Prediction

if TYPE_CHECKING:
    from onnxplain.explainers.explanation import Explanation
    from onnxplain.runtime.engine import Engine


@dataclass(frozen=True, eq=False)
class Sample:
    """An image of a data set and the model's prediction for it.

    `size_hw`: of the image, in pixels. `class_id`: the model's class for the record's label; None if labels are not
    compared.
    """

    record: Record
    size_hw: tuple[int, int]
    prediction: Prediction
    class_id: int | None

    def right_within(self, count: int) -> bool:
        """Whether the label is among the `count` classes with the highest scores; equal scores are ordered by class."""
        return self.class_id in {class_id for class_id, _, _ in self.prediction.top(count)}

    @cached_property
    def true_pixels(self) -> TruePixels:
        """The true mask of the label. Raises OnnxplainError if it cannot be read or has another size than the image."""
        assert self.record.mask is not None
        pixels = self.record.mask.load()
        if pixels.shown.shape != self.size_hw:
            (height, width), (rows, columns) = pixels.shown.shape, self.size_hw
            raise OnnxplainError(f"mask: found {width} × {height} pixels, expected {columns} × {rows} as the image has")
        return pixels

    def iou(self, box_xyxy: Corners | None) -> float:
        """Intersection over union of a box with the nearest true box; 0 without a box."""
        truth = self.record.boxes_xyxy
        if box_xyxy is None:
            return 0.0
        return float(paired_iou(np.repeat(np.asarray([box_xyxy]), len(truth), axis=0), truth).max())


@dataclass(frozen=True, eq=False)
class BoxSample:
    """A box to be measured, xyxy in pixels of the image."""

    sample: Sample
    box_xyxy: Corners

    @cached_property
    def iou(self) -> float:
        """Intersection over union with the nearest true box."""
        return self.sample.iou(self.box_xyxy)


@dataclass(frozen=True, eq=False)
class Asked:
    """A heatmap of the predicted class, and the model to test it with.

    `image_hwc`: the explained image, uint8 (H, W, 3) RGB. `other`: the heatmap of the same class from the model with
    shuffled weights, if there is one.
    """

    engine: Engine
    explanation: Explanation
    image_hwc: npt.NDArray[np.uint8]
    other: Explanation | None = None

    @cached_property
    def input_chw(self) -> FloatArray:
        """The image as model input, float32 (C, h, w)."""
        input_chw: FloatArray = self.engine.preprocess(self.image_hwc)[0]
        return input_chw

    @cached_property
    def heat_hw(self) -> FloatArray:
        """The heat in the frame of the model's input, float32 (h, w)."""
        return self.explanation.frame.map_to_input(self.explanation.heatmap)

    @cached_property
    def curves(self) -> CausalCurves:
        """The curves of insertion and deletion."""
        return causal_curves(self.engine.scores, self.input_chw, self.heat_hw, self.explanation.target)

    @cached_property
    def explained_score(self) -> float:
        """The score of the class for the input times the heat."""
        return explained_score(self.engine.scores, self.input_chw, self.heat_hw, self.explanation.target)


@dataclass(frozen=True, eq=False)
class HeatmapSample:
    """A heatmap to be measured.

    `heatmap_hw`: float32 (H, W) in [0, 1], size of the image; `map_hw`: the original map, of that size or WSOL's
    224 × 224. `threshold`: for boxes, as a share of the maximum. `asked`: the heatmap of the predicted class; None if
    no metric needs it.
    """

    sample: Sample
    heatmap_hw: FloatArray
    map_hw: npt.NDArray[np.floating]
    threshold: float
    asked: Asked | None = None

    def box(self, threshold: float | Literal["stable"]) -> Corners | None:
        """The box of the largest region; None if there is none."""
        regions = find_regions(self.heatmap_hw, threshold)
        if not len(regions):
            return None
        x1, y1, x2, y2 = (float(side) for side in regions.xyxy[0])
        return x1, y1, x2, y2

    @cached_property
    def iou(self) -> float:
        """IoU of the box at the method's own threshold."""
        return self.sample.iou(self.box(self.threshold))

    @cached_property
    def iou_stable(self) -> float:
        """IoU of the box at the stable threshold."""
        return self.sample.iou(self.box("stable"))

    @cached_property
    def levels(self) -> LevelOverlaps:
        """IoU of the boxes at every level."""
        return level_overlaps(self.map_hw, self.sample.record.boxes_xyxy, self.sample.size_hw)

    @cached_property
    def agreement(self) -> Agreement:
        """Agreement of the predicted class's heatmap with the box head's box."""
        explanation, box = self.of_predicted.explanation, self.sample.prediction.box_xyxy
        assert box is not None
        return measure_agreement(explanation.heatmap, explanation.boxes(), box)

    @property
    def of_predicted(self) -> Asked:
        """The heatmap of the predicted class, for metrics that need it."""
        assert self.asked is not None
        return self.asked
