"""A detector as a black box: its targets are detections of the unmasked image."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from onnxplain.errors import UnsupportedError
from onnxplain.explainers.aimed.describing import DescribedTarget
from onnxplain.explainers.aimed.placed_detection import place_detections, placed_detections
from onnxplain.explainers.aimed.placed_target import PlacedTarget
from onnxplain.explainers.masked.black_box import AskedTarget, BlackBox, View, WholeOutputs
from onnxplain.explainers.masked.engine_box import view_of
from onnxplain.explainers.masked.explained_detections import ExplainedDetections
from onnxplain.explainers.masked.fill import Fill
from onnxplain.explainers.masked.masks import DEFAULT_GRID, choose_grid
from onnxplain.runtime.arrays import AnyArray, FloatArray
from onnxplain.runtime.detection.columns import DetectorColumns
from onnxplain.runtime.detection.detection_target import DetectionTarget, parse_detection_target
from onnxplain.runtime.detection.detections import Detection
from onnxplain.runtime.detection.detector import Detector
from onnxplain.runtime.engine import Engine
from onnxplain.runtime.target import Target

if TYPE_CHECKING:
    from onnxplain.runtime.image import ImageLike


class DetectorBox(BlackBox):
    """A detector. Masks are weighted with the similarity of its candidates with each detection of the whole image."""

    def __init__(self, engine: Engine, detector: Detector, fill: Fill, method: str) -> None:
        self.engine, self.detector, self._fill, self._method = engine, detector, fill, method
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
        if asked.side is not None:
            name = asked.name if isinstance(asked, Detection) else asked.text
            raise UnsupportedError(
                f"{self._method}: found target {name!r}, expected a whole box: the method explains scores, not "
                f"coordinates; leave out :{asked.side}, or use hires-cam"
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
        chosen = [aim for aim in aims if isinstance(aim, DetectionTarget | Detection)]
        return [*place_detections(self.detector, self._columns(whole), view.frame, chosen)]

    def describe(self, placed: PlacedTarget, view: View, whole: WholeOutputs) -> DescribedTarget:
        """The detection with its name, label and score."""
        (each,) = placed_detections([placed])
        return each.described

    def _columns(self, whole: WholeOutputs) -> DetectorColumns:
        named: dict[str, AnyArray] = dict(zip(self.detector.spec.output_names, whole.outputs, strict=True))
        return self.detector.read(named)[0]
