"""Detections as targets: those of an image that are asked for, with their boxes and their numbers in the contract."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import get_args

import numpy as np

from onnxplain.contract import HeadSpec
from onnxplain.errors import OnnxplainError
from onnxplain.explainers.aimed.describing import DescribedTarget
from onnxplain.explainers.aimed.placed_target import PlacedTarget
from onnxplain.runtime.arrays import FloatArray
from onnxplain.runtime.box import paired_iou
from onnxplain.runtime.detection.columns import DetectorColumns
from onnxplain.runtime.detection.decode import candidate_boxes
from onnxplain.runtime.detection.detection_target import DetectionTarget
from onnxplain.runtime.detection.detections import BoxSide, Detection
from onnxplain.runtime.detection.detector import Detector
from onnxplain.runtime.geometry import Frame

# Overlap with the box that the model finds again: below it, a Detection belongs to another image or model.
_SAME = 0.9
# What a placed target needs a head for; a detector has none.
_NO_HEAD = HeadSpec("detections", "classes", 1, scores="detections")


@dataclass(frozen=True, eq=False, kw_only=True)
class PlacedDetection(PlacedTarget):
    """A detection of one image. `box_xyxy`: its box in pixels of the model's input, float32 (4,)."""

    detection: Detection
    box_xyxy: FloatArray

    @property
    def described(self) -> DescribedTarget:
        """The detection with its name, label and score."""
        found = self.detection
        return DescribedTarget(
            self.index,
            found.name,
            found.label,
            found.score,
            head=None,
            answers=None,
            prediction=None,
            detection=found,
        )


def placed_detections(placed: Sequence[PlacedTarget]) -> tuple[PlacedDetection, ...]:
    """The detections among placed targets: all of them, for a detector."""
    return tuple(each for each in placed if isinstance(each, PlacedDetection))


def place_detections(
    detector: Detector, columns: DetectorColumns, frame: Frame, asked: Sequence[DetectionTarget | Detection]
) -> list[PlacedDetection]:
    """The detections of an image that are asked for, in this order.

    Raises OnnxplainError for one that is not there; the message lists what was found.
    """
    found = detector.place(columns, frame)
    chosen: list[Detection] = []
    for each in asked:
        if isinstance(each, DetectionTarget):
            chosen += each.find(found)
        else:
            _check(detector, columns, frame, each)
            chosen.append(each)
    boxes = _boxes(detector, columns, [each.candidate for each in chosen])
    return [
        PlacedDetection(_number(detector, columns, each), _NO_HEAD, detection=each, box_xyxy=box)
        for each, box in zip(chosen, boxes, strict=True)
    ]


def _boxes(detector: Detector, columns: DetectorColumns, candidates: Sequence[int]) -> FloatArray:
    """The boxes of candidates in pixels of the model's input, float32 (T, 4)."""
    return candidate_boxes(detector.spec, columns, np.array(candidates, np.int64), detector.size_hw)


def _number(detector: Detector, columns: DetectorColumns, each: Detection) -> int:
    """The number in the contract: candidate · (C + 4) + class or corner; C = 1 where candidates carry a class."""
    layout = detector.spec.layout
    classes: int = 1 if layout.carries_class else columns.parts["classes"].shape[1] - layout.backgrounds
    column = 0 if layout.carries_class else each.class_id
    if each.side is not None:
        column = classes + get_args(BoxSide).index(each.side)
    return each.candidate * (classes + 4) + column


def _check(detector: Detector, columns: DetectorColumns, frame: Frame, target: Detection) -> None:
    """Raise OnnxplainError unless the candidate of a detection has its box in this image."""
    if 0 <= target.candidate < columns.count:
        placed = frame.boxes_to_image(np.nan_to_num(_boxes(detector, columns, [target.candidate])))
        if paired_iou(placed, np.array([target.xyxy]))[0] >= _SAME:
            return
    raise OnnxplainError(
        f"target: found a Detection of candidate {target.candidate}, whose box is not in this image, expected one "
        "that Engine.detect returned for the same model and image"
    )
