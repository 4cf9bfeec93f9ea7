"""Black boxes: an engine or any callable, used only through its scores, with its input image and its fill."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeAlias

import numpy as np
import numpy.typing as npt

from onnxplain.errors import OnnxplainError, UnsupportedError
from onnxplain.explainers.masked.explained_output import ExplainedOutput, ExplainOutput, check_explain_output
from onnxplain.explainers.masked.fill import Fill, check_fill, fill_pixels
from onnxplain.runtime.arrays import AnyArray, FloatArray
from onnxplain.runtime.engine import Engine
from onnxplain.runtime.geometry import Frame, make_frame
from onnxplain.runtime.image import as_image
from onnxplain.runtime.preprocess import as_type_of, normalise, warp_image
from onnxplain.runtime.results import Prediction
from onnxplain.runtime.target import PREDICTED_CLASS, Target

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


class BlackBox(ABC):
    """A model that is used only through its scores and, if it has one, its box."""

    input_size_hw: tuple[int, int]
    # The output that is read from an engine. None for a callable, which only returns scores.
    explained: ExplainedOutput | None = None

    @abstractmethod
    def look(self, image: ImageLike) -> View:
        """The image in the frame of the model's input."""

    @abstractmethod
    def scores(self, pixels_nchw: FloatArray) -> FloatArray:
        """Scores float32 (N, C)."""

    @abstractmethod
    def resolve_target(self, target: Target) -> int:
        """A class index, or −1 for the class with the highest score."""

    @abstractmethod
    def label(self, class_id: int) -> str:
        """The class's name."""

    @abstractmethod
    def prediction(self, scores: FloatArray) -> Prediction | None:
        """The prediction from scores (C,); None if the classes are unknown."""


class _EngineBox(BlackBox):
    """An engine, used through its outputs. Masks hide pixels of its normalised input."""

    def __init__(self, engine: Engine, fill: Fill, explain_output: ExplainOutput) -> None:
        self.engine = engine
        self.explained = ExplainedOutput(engine, explain_output)
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

    def scores(self, pixels_nchw: FloatArray) -> FloatArray:
        return self.engine.scores(pixels_nchw)

    def resolve_target(self, target: Target) -> int:
        index = self.engine.resolve_target(target)
        if index >= self.engine.spec.classes:
            raise UnsupportedError(
                f"rise: found target {self.engine.target_name(index)}, expected a class: RISE uses only "
                "class scores; for a box coordinate use grad-cam"
            )
        return index

    def label(self, class_id: int) -> str:
        return self.engine.spec.label(class_id)

    def prediction(self, scores: FloatArray) -> Prediction | None:
        return Prediction.from_scores(scores, self.engine.spec.labels)


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

    def resolve_target(self, target: Target) -> int:
        if target is None:
            return PREDICTED_CLASS
        index = int(target) if isinstance(target, str) and target.isdecimal() else target
        if isinstance(index, bool) or not isinstance(index, int | np.integer) or index < PREDICTED_CLASS:
            raise OnnxplainError(
                f"target: found {target!r}, expected a class index from 0 up, or None: a callable has no labels"
            )
        return int(index)

    def label(self, class_id: int) -> str:
        return str(class_id)

    def prediction(self, scores: FloatArray) -> Prediction | None:
        return None


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
