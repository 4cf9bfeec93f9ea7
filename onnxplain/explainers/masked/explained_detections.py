"""The detections of an image as values that weight the masks: D-RISE (Petsiuk et al. 2021)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from onnxplain.errors import OnnxplainError
from onnxplain.explainers.masked.explained_output import Outputs, WatchedOutput
from onnxplain.runtime.arrays import FloatArray
from onnxplain.runtime.box import paired_iou
from onnxplain.runtime.detection.columns import DetectorColumns
from onnxplain.runtime.detection.decode import candidate_boxes
from onnxplain.runtime.detection.detection_target import DetectionTarget
from onnxplain.runtime.detection.detections import Detection
from onnxplain.runtime.detection.detector import Detector
from onnxplain.runtime.detection.watched import WatchedDetections
from onnxplain.runtime.engine import Engine
from onnxplain.runtime.geometry import Frame

# Overlap with the box that the model finds again: below it, a Detection belongs to another image or model.
_SAME = 0.9


@dataclass(frozen=True, eq=False)
class ExplainedDetections(WatchedOutput):
    """Per detection of the whole image, how far a masked copy still shows it: see `WatchedDetections.similarity`.

    `whole`: the outputs of the whole image. `chosen`: the detections that are explained, one column each. `watched`:
    the same in pixels of the model's input.
    """

    engine: Engine
    detector: Detector
    whole: Outputs
    chosen: tuple[Detection, ...]
    watched: WatchedDetections

    @property
    def one_image(self) -> bool:
        """Whether rows do not say which image they belong to."""
        return self.detector.spec.layout.one_image

    @property
    def output_names(self) -> list[str]:
        """All outputs of the layout."""
        return list(self.detector.spec.output_names)

    def run_whole(self, pixels: FloatArray) -> Outputs:
        """The outputs that are known already."""
        return self.whole

    def unmasked(self, whole: Outputs) -> FloatArray:
        """The similarity of the whole image, float32 (T,)."""
        similarity: FloatArray = self.read(whole, whole)[0]
        return similarity

    def read(self, outputs: Outputs, whole: Outputs) -> FloatArray:
        """The similarities, float32 (N, T). One image is read at a time, so memory does not depend on N."""
        detector = self.detector
        images = detector.read(dict(zip(self.output_names, outputs, strict=True)))
        return np.stack([self.watched.similarity(detector.spec, each, detector.size_hw) for each in images])

    @property
    def numbers(self) -> list[int]:
        """The number of each in the contract: candidate · (C + 4) + class; C = 1 where candidates carry a class."""
        spec = self.detector.spec
        if spec.layout.carries_class:
            return [each.candidate * 5 for each in self.chosen]
        columns = self.detector.read(dict(zip(self.output_names, self.whole, strict=True)))[0]
        classes = columns.parts["classes"].shape[1] - spec.layout.backgrounds
        return [each.candidate * (classes + 4) + each.class_id for each in self.chosen]


def explain_detections(
    engine: Engine, detector: Detector, pixels: FloatArray, frame: Frame, asked: Sequence[DetectionTarget | Detection]
) -> ExplainedDetections:
    """Run the whole image, float32 (C, h, w), and find in it the detections that are asked for.

    Raises OnnxplainError for a target that is not there; the message lists what was found.
    """
    outputs = detector.run(pixels[None])
    columns = detector.read(outputs)[0]
    found = detector.place(columns, frame)
    chosen: list[Detection] = []
    for target in asked:
        if isinstance(target, DetectionTarget):
            chosen += target.find(found)
        else:
            _check(detector, columns, frame, target)
            chosen.append(target)
    index = np.array([each.candidate for each in chosen], np.int64)
    boxes = candidate_boxes(detector.spec, columns, index, detector.size_hw)
    watched = WatchedDetections(boxes, np.array([each.class_id for each in chosen], np.int64))
    whole = [outputs[name] for name in detector.spec.output_names]
    return ExplainedDetections(engine, detector, whole, tuple(chosen), watched)


def _check(detector: Detector, columns: DetectorColumns, frame: Frame, target: Detection) -> None:
    """Raise OnnxplainError unless the candidate of a detection has its box in this image."""
    if 0 <= target.candidate < columns.count:
        index = np.array([target.candidate], np.int64)
        placed = frame.boxes_to_image(np.nan_to_num(candidate_boxes(detector.spec, columns, index, detector.size_hw)))
        if paired_iou(placed, np.array([target.xyxy]))[0] >= _SAME:
            return
    raise OnnxplainError(
        f"target: found a Detection of candidate {target.candidate}, whose box is not in this image, expected one that "
        "Engine.detect returned for the same model and image"
    )
