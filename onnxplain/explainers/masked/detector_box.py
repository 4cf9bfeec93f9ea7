"""A detector as a black box: its targets are detections of the unmasked image."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from onnxplain.contract import HeadSpec
from onnxplain.errors import OnnxplainError, UnsupportedError
from onnxplain.explainers.aimed.describing import DescribedTarget
from onnxplain.explainers.aimed.placed_target import PlacedTarget
from onnxplain.explainers.masked.black_box import AskedTarget, BlackBox, View, WholeOutputs
from onnxplain.explainers.masked.engine_box import view_of
from onnxplain.explainers.masked.explained_detections import ExplainedDetections, PlacedDetection, placed_detections
from onnxplain.explainers.masked.fill import Fill
from onnxplain.explainers.masked.masks import DEFAULT_GRID, choose_grid
from onnxplain.runtime.arrays import AnyArray, FloatArray
from onnxplain.runtime.box import paired_iou
from onnxplain.runtime.detection.columns import DetectorColumns
from onnxplain.runtime.detection.decode import candidate_boxes
from onnxplain.runtime.detection.detection_target import DetectionTarget, parse_detection_target
from onnxplain.runtime.detection.detections import Detection
from onnxplain.runtime.detection.detector import Detector
from onnxplain.runtime.engine import Engine
from onnxplain.runtime.geometry import Frame
from onnxplain.runtime.target import Target

if TYPE_CHECKING:
    from onnxplain.runtime.image import ImageLike

# Overlap with the box that the model finds again: below it, a Detection belongs to another image or model.
_SAME = 0.9
# What a placed target needs a head for; a detector has none.
_SIMILARITY = HeadSpec("detections", "classes", 1, scores="detections")


class DetectorBox(BlackBox):
    """A detector. Masks are weighted with the similarity of its candidates with each detection of the whole image."""

    def __init__(self, engine: Engine, detector: Detector, fill: Fill) -> None:
        self.engine, self.detector, self._fill = engine, detector, fill
        self.explains = "detection"
        self.input_size_hw = engine.spec.input.size_hw

    def look(self, image: ImageLike) -> View:
        """The normalised input, and the values of hidden pixels."""
        return view_of(self.engine, image, self._fill)

    def explained_output(self, placed: Sequence[PlacedTarget] = ()) -> ExplainedDetections:
        """One column per detection."""
        return ExplainedDetections(self.engine, self.detector, placed_detections(placed))

    def usual_grid(self, placed: Sequence[PlacedTarget] = ()) -> int:
        """As the boxes ask for; the default before an image is seen."""
        boxes = [each.box_xyxy for each in placed_detections(placed)]
        return choose_grid(np.stack(boxes), self.input_size_hw) if boxes else DEFAULT_GRID

    def scores(self, pixels_nchw: FloatArray) -> FloatArray:
        """Raises UnsupportedError: a detector has no scores of the whole image."""
        return self.engine.scores(pixels_nchw)

    def aim(self, target: Target) -> AskedTarget:
        """Which detections are asked for. Raises UnsupportedError for a coordinate of a box."""
        asked = parse_detection_target(self.engine.spec, target)
        if isinstance(asked, DetectionTarget) and asked.side is not None:
            raise UnsupportedError(
                f"rise: found target {asked.text!r}, expected a whole box: RISE explains scores, not coordinates; "
                f"leave out :{asked.side}"
            )
        return asked

    def see_whole(self, view: View) -> WholeOutputs:
        """All outputs of the layout."""
        outputs = self.detector.run(view.pixels[None])
        return WholeOutputs(tuple(outputs[name] for name in self.detector.spec.output_names))

    def place(self, aims: Sequence[AskedTarget], view: View, whole: WholeOutputs) -> list[PlacedTarget]:
        """The detections of the image that are asked for, in this order.

        Raises OnnxplainError for one that is not there; the message lists what was found.
        """
        columns = self._columns(whole)
        found = self.detector.place(columns, view.frame)
        chosen: list[Detection] = []
        for aim in aims:
            if isinstance(aim, DetectionTarget):
                chosen += aim.find(found)
            elif isinstance(aim, Detection):
                self._check(columns, view.frame, aim)
                chosen.append(aim)
        boxes = self._boxes(columns, [each.candidate for each in chosen])
        return [
            PlacedDetection(self._number(columns, each), _SIMILARITY, detection=each, box_xyxy=box)
            for each, box in zip(chosen, boxes, strict=True)
        ]

    def describe(self, placed: PlacedTarget, view: View, whole: WholeOutputs) -> DescribedTarget:
        """The detection with its name, label and score."""
        (each,) = placed_detections([placed])
        found = each.detection
        return DescribedTarget(
            placed.index,
            found.name,
            found.label,
            found.score,
            head=None,
            answers=None,
            prediction=None,
            detection=found,
        )

    def _columns(self, whole: WholeOutputs) -> DetectorColumns:
        named: dict[str, AnyArray] = dict(zip(self.detector.spec.output_names, whole.outputs, strict=True))
        return self.detector.read(named)[0]

    def _boxes(self, columns: DetectorColumns, candidates: Sequence[int]) -> FloatArray:
        """The boxes of candidates in pixels of the model's input, float32 (T, 4)."""
        index = np.array(candidates, np.int64)
        return candidate_boxes(self.detector.spec, columns, index, self.detector.size_hw)

    def _number(self, columns: DetectorColumns, each: Detection) -> int:
        """The number in the contract: candidate · (C + 4) + class; C = 1 where candidates carry a class."""
        layout = self.detector.spec.layout
        if layout.carries_class:
            return each.candidate * 5
        classes: int = columns.parts["classes"].shape[1] - layout.backgrounds
        return each.candidate * (classes + 4) + each.class_id

    def _check(self, columns: DetectorColumns, frame: Frame, target: Detection) -> None:
        """Raise OnnxplainError unless the candidate of a detection has its box in this image."""
        if 0 <= target.candidate < columns.count:
            placed = frame.boxes_to_image(np.nan_to_num(self._boxes(columns, [target.candidate])))
            if paired_iou(placed, np.array([target.xyxy]))[0] >= _SAME:
                return
        raise OnnxplainError(
            f"target: found a Detection of candidate {target.candidate}, whose box is not in this image, expected one "
            "that Engine.detect returned for the same model and image"
        )
