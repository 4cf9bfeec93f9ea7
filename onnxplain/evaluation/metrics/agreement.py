"""Agreement between the box head and the heatmap of one model; needs no labels."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from onnxplain.errors import OnnxplainError
from onnxplain.evaluation.metrics.pointing import energy_in_boxes
from onnxplain.explainers.regions import Regions
from onnxplain.runtime.arrays import FloatArray
from onnxplain.runtime.box import Corners, paired_iou


@dataclass(frozen=True)
class Agreement:
    """Agreement of a predicted box with a heatmap; both numbers are in [0, 1], 1 is best.

    `iou`: intersection over union of the box with the box of the heatmap's largest region, 0 if there is no region.
    `energy`: the share of the heat inside the box. Raises OnnxplainError for numbers outside [0, 1].
    """

    iou: float
    energy: float

    def __post_init__(self) -> None:
        if not (0 <= self.iou <= 1 and 0 <= self.energy <= 1):
            raise OnnxplainError(f"agreement: found iou {self.iou}, energy {self.energy}, expected both from 0 to 1")


def measure_agreement(heatmap_hw: FloatArray, regions: Regions, box_xyxy: Corners) -> Agreement:
    """How well `Prediction.box_xyxy` of a box head agrees with a heatmap of the predicted class.

    `heatmap_hw`: float32 (H, W), size of the original image; `regions`: its `Explanation.boxes()`; `box_xyxy` in pixels
    of that image.
    """
    box = np.asarray([box_xyxy], np.float32)
    iou = float(paired_iou(box, regions.xyxy[:1])[0]) if len(regions) else 0.0
    return Agreement(iou, energy_in_boxes(heatmap_hw, box))
