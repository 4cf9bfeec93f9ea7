"""Engines as black boxes: of a model with classes, and of a detector."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from onnxplain.errors import UnsupportedError
from onnxplain.explainers.masked.black_box import AskedTarget, BlackBox, View, WatchedTarget
from onnxplain.explainers.masked.explained_detections import ExplainedDetections, explain_detections
from onnxplain.explainers.masked.explained_output import (
    ExplainedOutput,
    ExplainOutput,
    WatchedOutput,
)
from onnxplain.explainers.masked.fill import Fill, fill_pixels
from onnxplain.explainers.masked.masks import DEFAULT_GRID, choose_grid
from onnxplain.runtime.arrays import AnyArray, FloatArray
from onnxplain.runtime.detection.detection_target import DetectionTarget, parse_detection_target
from onnxplain.runtime.detection.detector import Detector
from onnxplain.runtime.engine import Engine
from onnxplain.runtime.geometry import Frame
from onnxplain.runtime.preprocess import as_type_of, normalise, warp_image
from onnxplain.runtime.results import Prediction
from onnxplain.runtime.target import Target

if TYPE_CHECKING:
    from onnxplain.runtime.image import ImageLike


class EngineBox(BlackBox):
    """An engine, used through its outputs. Masks hide pixels of its normalised input."""

    def __init__(self, engine: Engine, fill: Fill, explain_output: ExplainOutput) -> None:
        self.engine = engine
        self.explained: WatchedOutput | None = ExplainedOutput(engine, explain_output)
        self.explains = explain_output
        self.input_size_hw = engine.spec.input.size_hw
        self._fill = fill

    def look(self, image: ImageLike) -> View:
        """The normalised input, and the values of hidden pixels."""
        batch = self.engine.prepare(image)
        return View(batch.pixels[0], self._hidden(batch.images[0], batch.frames[0]), batch.frames[0])

    def _hidden(self, image_hwc: AnyArray, frame: Frame) -> FloatArray:
        preprocessing = self.engine.spec.input.preprocessing
        if self._fill == "mean" and any(preprocessing.mean):
            return np.zeros((preprocessing.channel_count, 1, 1), np.float32)
        colours_hwc = fill_pixels(self._fill, image_hwc, warp_image(image_hwc, frame))
        hidden: FloatArray = normalise(as_type_of(image_hwc, colours_hwc)[None], preprocessing)[0]
        return hidden

    def scores(self, pixels_nchw: FloatArray) -> FloatArray:
        """Class scores float32 (N, C)."""
        return self.engine.scores(pixels_nchw)

    def resolve_target(self, target: Target) -> AskedTarget:
        """A class index, or −1. Raises UnsupportedError for a box coordinate."""
        index = self.engine.resolve_target(target)
        if index >= self.engine.spec.classes:
            raise UnsupportedError(
                f"rise: found target {self.engine.target_name(index)}, expected a class: RISE uses only "
                "class scores; for a box coordinate use grad-cam"
            )
        return index

    def label(self, class_id: int) -> str:
        """The class's name."""
        return self.engine.spec.label(class_id)

    def prediction(self, scores: FloatArray) -> Prediction | None:
        """The prediction of the best class."""
        return Prediction.from_scores(scores, self.engine.spec.labels)


class DetectorBox(EngineBox):
    """A detector. What masks are weighted with depends on the image: see `focus`."""

    explained: ExplainedDetections | None

    def __init__(self, engine: Engine, detector: Detector, fill: Fill) -> None:
        self.engine, self.detector = engine, detector
        self.explained, self.explains = None, "detection"
        self.input_size_hw = engine.spec.input.size_hw
        self._fill = fill

    def resolve_target(self, target: Target) -> AskedTarget:
        """Which detections are asked for. Raises UnsupportedError for a coordinate of a box."""
        asked = parse_detection_target(self.engine.spec, target)
        if isinstance(asked, DetectionTarget) and asked.side is not None:
            raise UnsupportedError(
                f"rise: found target {asked.text!r}, expected a whole box: RISE explains scores, not coordinates; "
                f"leave out :{asked.side}"
            )
        return asked

    def focus(self, view: View, asked: Sequence[AskedTarget]) -> BlackBox:
        """The same, with the detections of an image in the order of the targets, and their names."""
        wanted = [each for each in asked if not isinstance(each, int)]
        focused = DetectorBox(self.engine, self.detector, self._fill)
        focused.explained = explain_detections(self.engine, self.detector, view.pixels, view.frame, wanted)
        return focused

    @property
    def usual_grid(self) -> int:
        """The default before an image is seen; then as the boxes ask for."""
        if self.explained is None:
            return DEFAULT_GRID
        return choose_grid(self.explained.watched.boxes_xyxy, self.input_size_hw)

    def watch(self, asked: Sequence[AskedTarget], unmasked: FloatArray) -> tuple[WatchedTarget, ...]:
        """The detections with their names, one column each."""
        assert self.explained is not None  # watched after `focus`
        numbered = zip(self.explained.numbers, self.explained.chosen, strict=True)
        return tuple(
            WatchedTarget(column, number, each.name, each.label, each.score, each)
            for column, (number, each) in enumerate(numbered)
        )

    def prediction(self, scores: FloatArray) -> Prediction | None:
        """None: a detector has no class of the whole image."""
        return None
