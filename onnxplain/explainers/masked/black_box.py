"""Black boxes: an engine or any callable, used only through its scores, with its input image and its fill."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeAlias

import numpy.typing as npt

from onnxplain.errors import OnnxplainError
from onnxplain.explainers.masked.explained_output import (
    ExplainedKind,
    WatchedOutput,
)
from onnxplain.explainers.masked.masks import DEFAULT_GRID
from onnxplain.runtime.arrays import FloatArray
from onnxplain.runtime.detection.detection_target import DetectionTarget
from onnxplain.runtime.detection.detections import Detection
from onnxplain.runtime.geometry import Frame
from onnxplain.runtime.results import Prediction
from onnxplain.runtime.target import PREDICTED_CLASS, Target

if TYPE_CHECKING:
    from onnxplain.runtime.image import ImageLike

ScoreFunction: TypeAlias = Callable[[FloatArray], npt.ArrayLike]
# What a target stands for before an image is seen: a class, −1 for the best one, or detections.
AskedTarget: TypeAlias = int | DetectionTarget | Detection


@dataclass(frozen=True, eq=False)
class View:
    """An image as the model's input: `pixels`, float32 (C, h, w), and `hidden`, the values of masked pixels.

    `hidden` is float32: (C, 1, 1) for a colour, or (C, h, w) for an image.
    """

    pixels: FloatArray
    hidden: FloatArray
    frame: Frame


@dataclass(frozen=True)
class WatchedTarget:
    """A target of one image: the column of its scores, its number in the contract, its name, label and score."""

    column: int
    target: int
    name: str
    label: str
    score: float
    detection: Detection | None = None


class BlackBox(ABC):
    """A model that is used only through its scores and, if it has some, its boxes."""

    input_size_hw: tuple[int, int]
    # What weights the masks.
    explains: ExplainedKind = "score"
    # The output that is read from an engine. None for a callable, which only returns scores, and for a detector before
    # an image is seen.
    explained: WatchedOutput | None = None

    @property
    def usual_grid(self) -> int:
        """The cells per side of masks if none are stated."""
        return DEFAULT_GRID

    @abstractmethod
    def look(self, image: ImageLike) -> View:
        """The image in the frame of the model's input."""

    @abstractmethod
    def scores(self, pixels_nchw: FloatArray) -> FloatArray:
        """Scores float32 (N, C)."""

    @abstractmethod
    def resolve_target(self, target: Target) -> AskedTarget:
        """A class index, or −1 for the class with the highest score. For a detector: which detections are asked for."""

    def focus(self, view: View, asked: Sequence[AskedTarget]) -> BlackBox:
        """The black box for one image, where its columns depend on the image; itself for models with classes."""
        return self

    def watch(self, asked: Sequence[AskedTarget], unmasked: FloatArray) -> tuple[WatchedTarget, ...]:
        """The targets of an image, one each, from the scores of the whole image."""
        targets = []
        for each in asked:
            assert isinstance(each, int)  # only detectors have other targets
            index = _choose(each, unmasked)
            label = self.label(index)
            name = f"box of {label}" if self.explains == "box" else label
            targets.append(WatchedTarget(index, index, name, label, float(unmasked[index])))
        return tuple(targets)

    @abstractmethod
    def label(self, class_id: int) -> str:
        """The class's name."""

    @abstractmethod
    def prediction(self, scores: FloatArray) -> Prediction | None:
        """The prediction from scores (C,); None if the classes are unknown."""


def _choose(target: int, scores: FloatArray) -> int:
    """An existing class index: the target, or the class with the highest score."""
    if target >= len(scores):
        raise OnnxplainError(
            f"target: found {target}, expected 0 to {len(scores) - 1}: the model returns {len(scores)} scores"
        )
    return int(scores.argmax()) if target == PREDICTED_CLASS else target
