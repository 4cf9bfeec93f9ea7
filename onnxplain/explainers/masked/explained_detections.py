"""The detections of an image as values that weight the masks: D-RISE (Petsiuk et al. 2021)."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from onnxplain.explainers.aimed.placed_detection import PlacedDetection
from onnxplain.explainers.masked.explained_output import Outputs, WatchedOutput
from onnxplain.runtime.arrays import FloatArray
from onnxplain.runtime.detection.detector import Detector
from onnxplain.runtime.detection.watched import WatchedDetections
from onnxplain.runtime.engine import Engine


@dataclass(frozen=True, eq=False)
class ExplainedDetections(WatchedOutput):
    """Per detection of the whole image, how far a masked copy still shows it: see `WatchedDetections.similarity`."""

    engine: Engine
    detector: Detector
    placed: tuple[PlacedDetection, ...]

    @cached_property
    def watched(self) -> WatchedDetections:
        """The detections in pixels of the model's input."""
        boxes = np.array([each.box_xyxy for each in self.placed], np.float32).reshape(-1, 4)
        return WatchedDetections(boxes, np.array([each.detection.class_id for each in self.placed], np.int64))

    @property
    def one_image(self) -> bool:
        """Whether rows do not say which image they belong to."""
        return self.detector.spec.layout.one_image

    @property
    def output_names(self) -> list[str]:
        """All outputs of the layout."""
        return list(self.detector.spec.output_names)

    def of_whole(self, outputs: Outputs) -> Outputs:
        """All of them."""
        return outputs

    def read(self, outputs: Outputs, whole: Outputs) -> FloatArray:
        """The similarities, float32 (N, T). One image is read at a time, so memory does not depend on N."""
        detector = self.detector
        images = detector.read(dict(zip(self.output_names, outputs, strict=True)))
        return np.stack([self.watched.similarity(detector.spec, each, detector.size_hw) for each in images])
