"""An engine with heads as a black box."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, cast

import numpy as np

from onnxplain.errors import UnsupportedError
from onnxplain.explainers.aimed.describing import DescribedTarget, describe_target
from onnxplain.explainers.aimed.placed_target import PlacedTarget
from onnxplain.explainers.aimed.placing import Placer, SeenImage, check_aim, name_aim
from onnxplain.explainers.masked.black_box import AskedTarget, BlackBox, View, WholeOutputs
from onnxplain.explainers.masked.explained_output import ExplainedOutput, ExplainOutput, WatchedOutput
from onnxplain.explainers.masked.fill import Fill, fill_pixels, is_fill_image, is_inpainted
from onnxplain.runtime.answers import read_answers
from onnxplain.runtime.arrays import AnyArray, FloatArray
from onnxplain.runtime.engine import Engine
from onnxplain.runtime.geometry import Frame
from onnxplain.runtime.head_scores import head_scores, predicted_entries
from onnxplain.runtime.preprocess import as_type_of, normalise, warp_image
from onnxplain.runtime.target import PREDICTED_CLASS, ResolvedTarget, Target

if TYPE_CHECKING:
    from onnxplain.runtime.image import ImageLike


def view_of(engine: Engine, image: ImageLike, fill: Fill) -> View:
    """An image as an engine's normalised input, and the values of hidden pixels."""
    batch = engine.prepare(image)
    frame = batch.frames[0]
    if is_fill_image(fill):
        return View(batch.pixels[0], engine.prepare(cast("ImageLike", fill)).pixels[0], frame)
    hidden = _hidden(engine, fill, batch.images[0], frame)
    return View(batch.pixels[0], hidden, frame, inpainted=is_inpainted(fill))


def _hidden(engine: Engine, fill: Fill, image_hwc: AnyArray, frame: Frame) -> FloatArray:
    preprocessing = engine.spec.input.preprocessing
    if isinstance(fill, str) and fill != "blur" and any(preprocessing.mean):
        return np.zeros((preprocessing.channel_count, 1, 1), np.float32)
    colours_hwc = fill_pixels(fill, image_hwc, warp_image(image_hwc, frame))
    hidden: FloatArray = normalise(as_type_of(image_hwc, colours_hwc)[None], preprocessing)[0]
    return hidden


class EngineBox(BlackBox):
    """An engine, used through its outputs. Masks hide pixels of its normalised input."""

    def __init__(self, engine: Engine, fill: Fill, explain_output: ExplainOutput, method: str) -> None:
        self.engine, self.explains, self._explain_output = engine, explain_output, explain_output
        self.explained_output()
        self.input_size_hw = engine.spec.input.size_hw
        self._fill, self._method = fill, method

    def look(self, image: ImageLike) -> View:
        """The normalised input, and the values of hidden pixels."""
        return view_of(self.engine, image, self._fill)

    def explained_output(self, placed: Sequence[PlacedTarget] = ()) -> WatchedOutput:
        """The scores of the targets, or also the box."""
        return ExplainedOutput(self.engine, self._explain_output, tuple(placed))

    def aim(self, target: Target) -> AskedTarget:
        """An entry of a head. Raises UnsupportedError for a box coordinate."""
        aim = self.engine.parse_target(target)
        name = name_aim(self.engine, aim)
        if aim.head.kind == "box":
            raise UnsupportedError(
                f"{self._method}: found target {name}, expected a class: the method uses only scores; for a box "
                "coordinate use grad-cam"
            )
        if self._explain_output == "box" and aim.head.kind != "classes":
            raise UnsupportedError(
                f"{self._method}: found target {name} of the head {aim.head.name} ({aim.head.kind}) with "
                'explain_output "box", expected a class: explain the "score"'
            )
        check_aim(self._method, aim, name)
        return aim

    def scores(self, pixels_nchw: FloatArray) -> FloatArray:
        """Scores of the default head, float32 (N, C)."""
        return self.engine.scores(pixels_nchw)

    def see_whole(self, view: View) -> WholeOutputs:
        """One output per head."""
        return WholeOutputs(tuple(self.engine.run(view.pixels[None], self.engine.head_outputs)))

    def place(self, aims: Sequence[AskedTarget], view: View, whole: WholeOutputs) -> list[PlacedTarget]:
        """The targets on that image, all settled."""
        heads, placer = self.engine.spec.heads, Placer(self.engine)
        seen = SeenImage(view.pixels, view.frame, lambda head: whole.outputs[heads.index(head)])
        predicted = int(predicted_entries(heads[0], whole.outputs[0])[0])
        placed = [placer.place(aim, lambda: seen) for aim in aims if isinstance(aim, ResolvedTarget)]
        return [each.settle(predicted if each.index == PREDICTED_CLASS else each.index) for each in placed]

    def describe(self, placed: PlacedTarget, view: View, whole: WholeOutputs) -> DescribedTarget:
        """Name, label, score and answers."""
        heads = self.engine.spec.heads
        (answers,) = read_answers(heads, whole.outputs, [view.frame])
        output = whole.outputs[heads.index(placed.head)]
        score = head_scores(placed.head, output, placed.reference, placed.region)[0, placed.entry]
        return describe_target(self.engine, placed, float(score), answers)
