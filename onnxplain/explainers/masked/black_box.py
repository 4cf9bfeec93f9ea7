"""Black boxes: an engine or any callable, used only through its scores, with its input image and its fill."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, TypeAlias

import numpy as np
import numpy.typing as npt

from onnxplain.contract import HeadSpec
from onnxplain.errors import OnnxplainError, UnsupportedError
from onnxplain.explainers.aimed.describing import DescribedTarget, describe_target
from onnxplain.explainers.aimed.placed_target import PlacedTarget
from onnxplain.explainers.aimed.placing import Placer, SeenImage, check_aim, name_aim
from onnxplain.explainers.masked.explained_output import ExplainedOutput, ExplainOutput, check_explain_output
from onnxplain.explainers.masked.fill import Fill, check_fill, fill_pixels
from onnxplain.runtime.answers import read_answers
from onnxplain.runtime.arrays import AnyArray, FloatArray
from onnxplain.runtime.engine import Engine
from onnxplain.runtime.geometry import Frame, make_frame
from onnxplain.runtime.head_scores import head_scores, predicted_entries
from onnxplain.runtime.heads.aim import Aim
from onnxplain.runtime.heads.target_text import NOT_PREFIX
from onnxplain.runtime.image import as_image
from onnxplain.runtime.preprocess import as_type_of, normalise, warp_image
from onnxplain.runtime.target import PREDICTED_CLASS, ResolvedTarget, Target

if TYPE_CHECKING:
    from onnxplain.runtime.image import ImageLike

ScoreFunction: TypeAlias = Callable[[FloatArray], npt.ArrayLike]


@dataclass(frozen=True, eq=False)
class View:
    """An image as the model's input: `pixels`, float32 (C, h, w), and `hidden`, the values of masked pixels.

    `hidden` is float32: (C, 1, 1) for a colour, or (C, h, w) for an image.
    """

    pixels: FloatArray
    hidden: FloatArray
    frame: Frame


@dataclass(frozen=True, eq=False)
class WholeOutputs:
    """The outputs for the unmasked image: one per head of an engine, or the scores (1, C) of a callable."""

    outputs: tuple[AnyArray, ...]


class BlackBox(ABC):
    """A model that is used only through its scores and, if it has one, its box."""

    input_size_hw: tuple[int, int]

    @abstractmethod
    def look(self, image: ImageLike) -> View:
        """The image in the frame of the model's input."""

    def explained_output(self, placed: Sequence[PlacedTarget] = ()) -> ExplainedOutput | None:
        """The output that is read from an engine; None for a callable, which only returns scores."""
        return None

    @abstractmethod
    def scores(self, pixels_nchw: FloatArray) -> FloatArray:
        """Scores float32 (N, C)."""

    @abstractmethod
    def aim(self, target: Target) -> ResolvedTarget:
        """What is explained, before the model has run. Raises OnnxplainError for what cannot be explained."""

    @abstractmethod
    def see_whole(self, view: View) -> WholeOutputs:
        """The outputs for the unmasked image, from one forward pass."""

    @abstractmethod
    def place(self, aims: Sequence[ResolvedTarget], view: View, whole: WholeOutputs) -> list[PlacedTarget]:
        """The targets on that image, all settled."""

    @abstractmethod
    def describe(self, placed: PlacedTarget, view: View, whole: WholeOutputs) -> DescribedTarget:
        """What the explanation of a target says of it."""


class _EngineBox(BlackBox):
    """An engine, used through its outputs. Masks hide pixels of its normalised input."""

    def __init__(self, engine: Engine, fill: Fill, explain_output: ExplainOutput) -> None:
        self.engine, self._explain_output = engine, explain_output
        self.explained_output()
        self.input_size_hw = engine.spec.input.size_hw
        self._fill = fill

    def look(self, image: ImageLike) -> View:
        batch = self.engine.prepare(image)
        return View(batch.pixels[0], self._hidden(batch.images[0], batch.frames[0]), batch.frames[0])

    def _hidden(self, image_hwc: AnyArray, frame: Frame) -> FloatArray:
        preprocessing = self.engine.spec.input.preprocessing
        if self._fill == "mean" and any(preprocessing.mean):
            return np.zeros((preprocessing.channel_count, 1, 1), np.float32)
        colours_hwc = fill_pixels(self._fill, image_hwc, warp_image(image_hwc, frame))
        hidden: FloatArray = normalise(as_type_of(image_hwc, colours_hwc)[None], preprocessing)[0]
        return hidden

    def explained_output(self, placed: Sequence[PlacedTarget] = ()) -> ExplainedOutput:
        return ExplainedOutput(self.engine, self._explain_output, tuple(placed))

    def aim(self, target: Target) -> ResolvedTarget:
        aim = self.engine.parse_target(target)
        name = name_aim(self.engine, aim)
        if aim.head.kind == "box":
            raise UnsupportedError(
                f"rise: found target {name}, expected a class: RISE uses only class scores; for a box coordinate use "
                "grad-cam"
            )
        if self._explain_output == "box" and aim.head.kind != "classes":
            raise UnsupportedError(
                f'rise: found target {name} of the head {aim.head.name} ({aim.head.kind}) with explain_output "box", '
                'expected a class: explain the "score"'
            )
        check_aim("rise", aim, name)
        return aim

    def scores(self, pixels_nchw: FloatArray) -> FloatArray:
        return self.engine.scores(pixels_nchw)

    def see_whole(self, view: View) -> WholeOutputs:
        return WholeOutputs(tuple(self.engine.run(view.pixels[None], self.engine.head_outputs)))

    def place(self, aims: Sequence[ResolvedTarget], view: View, whole: WholeOutputs) -> list[PlacedTarget]:
        heads, placer = self.engine.spec.heads, Placer(self.engine)
        seen = SeenImage(view.pixels, view.frame, lambda head: whole.outputs[heads.index(head)])
        predicted = int(predicted_entries(heads[0], whole.outputs[0])[0])
        placed = [placer.place(aim, lambda: seen) for aim in aims]
        return [each.settle(predicted if each.index == PREDICTED_CLASS else each.index) for each in placed]

    def describe(self, placed: PlacedTarget, view: View, whole: WholeOutputs) -> DescribedTarget:
        heads = self.engine.spec.heads
        (answers,) = read_answers(heads, whole.outputs, [view.frame])
        output = whole.outputs[heads.index(placed.head)]
        score = head_scores(placed.head, output, placed.reference, placed.region)[0, placed.entry]
        return describe_target(self.engine, placed, float(score), answers)


class _CallableBox(BlackBox):
    """Any callable: float32 (N, 3, H, W), RGB, 0–255, stretched to `input_size_hw` → scores (N, C)."""

    def __init__(self, function: ScoreFunction, input_size_hw: tuple[int, int], fill: Fill) -> None:
        self.function = function
        self.input_size_hw = input_size_hw
        self._fill = fill
        self._classes: int | None = None

    def look(self, image: ImageLike) -> View:
        image_hwc = as_image(image)
        height, width = image_hwc.shape[:2]
        frame = make_frame((height, width), self.input_size_hw, "stretch")
        warped_hwc = warp_image(image_hwc, frame)
        hidden_hwc = fill_pixels(self._fill, image_hwc, warped_hwc)
        pixels, hidden = (
            np.ascontiguousarray(colours.transpose(2, 0, 1), np.float32) for colours in (warped_hwc, hidden_hwc)
        )
        return View(pixels, hidden, frame)

    def scores(self, pixels_nchw: FloatArray) -> FloatArray:
        try:
            scores = np.asarray(self.function(pixels_nchw), np.float32)
        except Exception as error:
            raise OnnxplainError(
                f"score function: raised {type(error).__name__} ({error}) for float32 {pixels_nchw.shape}, "
                "expected scores (N, C)"
            ) from error
        if scores.ndim != 2 or len(scores) != len(pixels_nchw) or not scores.size:
            raise OnnxplainError(
                f"score function: returned shape {scores.shape} for {len(pixels_nchw)} images, "
                f"expected ({len(pixels_nchw)}, C), one row of class scores per image"
            )
        if self._classes not in (None, scores.shape[1]):
            raise OnnxplainError(
                f"score function: returned {scores.shape[1]} classes, expected {self._classes} as before: it must give "
                "the same classes for every image"
            )
        self._classes = scores.shape[1]
        if not np.isfinite(scores).all():
            raise OnnxplainError("score function: returned NaN or infinity, expected finite scores")
        return scores

    def aim(self, target: Target) -> ResolvedTarget:
        aim = target if isinstance(target, Aim) else Aim(target)
        if aim.like is not None or aim.region is not None:
            raise OnnxplainError("target: found like or region for a callable, expected a class index: use an Engine")
        named, sign = aim.target, 1
        if isinstance(named, str) and named.startswith(NOT_PREFIX):
            named, sign = named.removeprefix(NOT_PREFIX), -1
        index = PREDICTED_CLASS if named is None else _class_index(named)
        other = None if aim.against is None else _class_index(aim.against)
        if other is not None and other in (index, PREDICTED_CLASS):
            raise OnnxplainError(f"against: found {aim.against!r}, expected the index of another class")
        return ResolvedTarget(index, _SCORES, sign, other)

    def see_whole(self, view: View) -> WholeOutputs:
        return WholeOutputs((self.scores(view.pixels[None]),))

    def place(self, aims: Sequence[ResolvedTarget], view: View, whole: WholeOutputs) -> list[PlacedTarget]:
        scores = whole.outputs[0][0]
        head = replace(_SCORES, size=len(scores))
        for index in (index for aim in aims for index in (aim.index, aim.against) if index is not None):
            if index >= len(scores):
                raise OnnxplainError(
                    f"target: found {index}, expected 0 to {len(scores) - 1}: the model returns {len(scores)} scores"
                )
        placed = [PlacedTarget(aim.index, head, sign=aim.sign, against=aim.against) for aim in aims]
        return [each.settle(int(scores.argmax()) if each.index == PREDICTED_CLASS else each.index) for each in placed]

    def describe(self, placed: PlacedTarget, view: View, whole: WholeOutputs) -> DescribedTarget:
        label = str(placed.index)
        name = placed.name_of(label, str(placed.against))
        score = float(whole.outputs[0][0, placed.index])
        return DescribedTarget(placed.index, name, label, score, head=None, answers=None, prediction=None)


# Scores of a callable: how many there are is known when it has run.
_SCORES = HeadSpec("scores", "classes", 1, scores="scores")


def _class_index(target: int | str) -> int:
    index = int(target) if isinstance(target, str) and target.isdecimal() else target
    if isinstance(index, bool) or not isinstance(index, int | np.integer) or index < PREDICTED_CLASS:
        raise OnnxplainError(
            f"target: found {target!r}, expected a class index from 0 up, or None: a callable has no labels"
        )
    return int(index)


def open_black_box(
    score_function: Engine | ScoreFunction,
    input_size_hw: tuple[int, int] | None,
    fill: Fill,
    explain_output: ExplainOutput = "score",
) -> BlackBox:
    """The black box of an engine or of a callable. Raises OnnxplainError for anything else.

    `explain_output` (see `ExplainedOutput`): "box" raises UnsupportedError if there is no box head.
    """
    check_fill(fill)
    check_explain_output(explain_output)
    if isinstance(score_function, Engine):
        own_size_hw = score_function.spec.input.size_hw
        if input_size_hw is not None and tuple(input_size_hw) != own_size_hw:
            raise OnnxplainError(
                f"input_size_hw: found {tuple(input_size_hw)}, expected the engine's {own_size_hw}: leave it out"
            )
        return _EngineBox(score_function, fill, explain_output)
    if not callable(score_function):
        raise OnnxplainError(
            f"score function: found {type(score_function).__name__}, expected an Engine or a callable "
            "float32 (N, 3, H, W) → (N, C)"
        )
    if explain_output == "box":
        raise UnsupportedError(
            'explain_output: found "box" for a callable, expected "score": a callable returns only scores; use an '
            "Engine to explain a box"
        )
    if input_size_hw is None:
        raise OnnxplainError("input_size_hw: found None, expected (height, width) of the callable's input")
    if len(input_size_hw) != 2 or min(input_size_hw) < 1:
        raise OnnxplainError(f"input_size_hw: found {input_size_hw}, expected (height, width), both positive")
    height, width = input_size_hw
    return _CallableBox(score_function, (int(height), int(width)), fill)
