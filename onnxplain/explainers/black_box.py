"""A model of which only scores are seen: an engine, or any callable; what it looks at, and what it hides."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, TypeAlias

import numpy as np
import numpy.typing as npt

from onnxplain.errors import OnnxplainError, UnsupportedError
from onnxplain.explainers.explainer import classify
from onnxplain.explainers.heatmap import FloatArray
from onnxplain.runtime.engine import Engine
from onnxplain.runtime.geometry import Frame, make_frame
from onnxplain.runtime.image import as_image
from onnxplain.runtime.preprocess import normalise, warp_image
from onnxplain.runtime.target import PREDICTED_CLASS, Target

if TYPE_CHECKING:
    from onnxplain.runtime.image import ImageLike
    from onnxplain.runtime.results import Prediction

Fill: TypeAlias = Literal["mean"] | tuple[float, float, float]
ScoreFunction: TypeAlias = Callable[[FloatArray], npt.ArrayLike]


@dataclass(frozen=True, eq=False)
class View:
    """An image as the model takes it: float32 `pixels` (C, h, w), and `hidden` (C, 1, 1), a masked pixel."""

    pixels: FloatArray
    hidden: FloatArray
    frame: Frame

    def show(self, masks_nhw: FloatArray) -> FloatArray:
        """One copy per mask, float32 (N, C, h, w): the pixel where the mask is 1, the fill where it is 0."""
        copies = (self.pixels - self.hidden) * masks_nhw[:, None]
        if self.hidden.any():
            copies += self.hidden
        return copies


class BlackBox(ABC):
    """Scores, and nothing else of the model."""

    input_size_hw: tuple[int, int]

    @abstractmethod
    def look(self, image: ImageLike) -> View:
        """The image in the frame of the model's input."""

    @abstractmethod
    def scores(self, pixels_nchw: FloatArray) -> FloatArray:
        """Scores float32 (N, C)."""

    @abstractmethod
    def resolve_target(self, target: Target) -> int:
        """A class index, or −1 for the class with the largest score."""

    @abstractmethod
    def label(self, class_id: int) -> str:
        """The class's name."""

    @abstractmethod
    def prediction(self, scores: FloatArray) -> Prediction | None:
        """What scores (C,) say, where the classes are known."""


class _EngineBox(BlackBox):
    """An engine seen through `scores`; masks multiply its normalised input."""

    def __init__(self, engine: Engine, fill: Fill) -> None:
        self.engine = engine
        self.input_size_hw = engine.spec.input.size_hw
        self._fill = fill

    def look(self, image: ImageLike) -> View:
        batch = self.engine.prepare(image)
        return View(batch.pixels[0], self._hidden(batch.images[0]), batch.frames[0])

    def _hidden(self, image_hwc: npt.NDArray[np.uint8]) -> FloatArray:
        preprocessing = self.engine.spec.input.preprocessing
        if self._fill == "mean" and any(preprocessing.mean):
            return np.zeros((preprocessing.channel_count, 1, 1), np.float32)
        colour = np.rint(fill_colour(self._fill, image_hwc)).astype(np.uint8)
        hidden: FloatArray = normalise(colour[None, None, None, :], preprocessing)[0]
        return hidden

    def scores(self, pixels_nchw: FloatArray) -> FloatArray:
        return self.engine.scores(pixels_nchw)

    def resolve_target(self, target: Target) -> int:
        index = self.engine.resolve_target(target)
        if index >= self.engine.spec.classes:
            raise UnsupportedError(
                f"rise: found target {self.engine.target_name(index)}, expected a class: RISE sees only "
                "class scores; for a box coordinate use grad-cam"
            )
        return index

    def label(self, class_id: int) -> str:
        return self.engine.spec.label(class_id)

    def prediction(self, scores: FloatArray) -> Prediction | None:
        return classify(self.engine.spec, scores)


class _CallableBox(BlackBox):
    """Any callable: float32 (N, 3, H, W), RGB, 0–255, stretched to `input_size_hw` → scores (N, C)."""

    def __init__(self, function: ScoreFunction, input_size_hw: tuple[int, int], fill: Fill) -> None:
        self.function = function
        self.input_size_hw = input_size_hw
        self._fill = fill

    def look(self, image: ImageLike) -> View:
        image_hwc = as_image(image)
        height, width = image_hwc.shape[:2]
        frame = make_frame((height, width), self.input_size_hw, "stretch")
        pixels = warp_image(image_hwc, frame).transpose(2, 0, 1).astype(np.float32)
        hidden = fill_colour(self._fill, image_hwc).astype(np.float32)[:, None, None]
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
        if not np.isfinite(scores).all():
            raise OnnxplainError("score function: returned NaN or infinity, expected finite scores")
        return scores

    def resolve_target(self, target: Target) -> int:
        if target is None:
            return PREDICTED_CLASS
        index = int(target) if isinstance(target, str) and target.isdecimal() else target
        if isinstance(index, str | bool) or int(index) != index or index < PREDICTED_CLASS:
            raise OnnxplainError(
                f"target: found {target!r}, expected a class index from 0 up, or None: no labels are known"
            )
        return int(index)

    def label(self, class_id: int) -> str:
        return str(class_id)

    def prediction(self, scores: FloatArray) -> Prediction | None:
        return None


def open_black_box(
    score_function: Engine | ScoreFunction, input_size_hw: tuple[int, int] | None, fill: Fill
) -> BlackBox:
    """The engine's or the callable's side of the same thing; raises OnnxplainError for what is neither."""
    check_fill(fill)
    if isinstance(score_function, Engine):
        own_size_hw = score_function.spec.input.size_hw
        if input_size_hw is not None and tuple(input_size_hw) != own_size_hw:
            raise OnnxplainError(
                f"input_size_hw: found {tuple(input_size_hw)}, the engine's is {own_size_hw}: leave it out"
            )
        return _EngineBox(score_function, fill)
    if not callable(score_function):
        raise OnnxplainError(
            f"score function: found {type(score_function).__name__}, expected an Engine or a callable "
            "float32 (N, 3, H, W) → (N, C)"
        )
    if input_size_hw is None:
        raise OnnxplainError("input_size_hw: missing, expected (height, width) of the callable's input")
    if len(input_size_hw) != 2 or min(input_size_hw) < 1:
        raise OnnxplainError(f"input_size_hw: found {input_size_hw}, expected (height, width), both positive")
    height, width = input_size_hw
    return _CallableBox(score_function, (int(height), int(width)), fill)


def check_fill(fill: Fill) -> None:
    """Raise OnnxplainError unless `fill` is "mean" or three numbers from 0 to 255."""
    if isinstance(fill, str):
        valid = fill == "mean"
    else:
        valid = np.shape(fill) == (3,) and all(0 <= value <= 255 for value in fill)
    if not valid:
        raise OnnxplainError(f'fill: found {fill!r}, expected "mean" or a colour (r, g, b) from 0 to 255')


def fill_colour(fill: Fill, image_hwc: npt.NDArray[np.uint8]) -> npt.NDArray[np.float64]:
    """The colour of a masked pixel, float64 (3,), 0–255: the one asked for, or the image's own mean."""
    colour: npt.NDArray[np.float64] = (
        image_hwc.mean(axis=(0, 1), dtype=np.float64) if fill == "mean" else np.asarray(fill, np.float64)
    )
    return colour
