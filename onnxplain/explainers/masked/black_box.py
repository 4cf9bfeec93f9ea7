"""Black boxes: an engine or any callable, used only through its scores, with its input image and its fill."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeAlias

import numpy.typing as npt

from onnxplain.explainers.aimed.describing import DescribedTarget
from onnxplain.explainers.aimed.placed_target import PlacedTarget
from onnxplain.explainers.masked.explained_output import ExplainedKind, WatchedOutput
from onnxplain.explainers.masked.masks import DEFAULT_GRID
from onnxplain.runtime.arrays import AnyArray, FloatArray
from onnxplain.runtime.detection.detection_target import DetectionTarget
from onnxplain.runtime.detection.detections import Detection
from onnxplain.runtime.geometry import Frame
from onnxplain.runtime.target import ResolvedTarget, Target

if TYPE_CHECKING:
    from onnxplain.runtime.image import ImageLike

ScoreFunction: TypeAlias = Callable[[FloatArray], npt.ArrayLike]
# A target before the model has run: an entry of a head, or detections.
AskedTarget: TypeAlias = ResolvedTarget | DetectionTarget | Detection


@dataclass(frozen=True, eq=False)
class View:
    """An image as the model's input: `pixels`, float32 (C, h, w), and `hidden`, the values of masked pixels.

    `hidden` is float32: (C, 1, 1) for a colour, or (C, h, w) for an image. `inpainted`: masked pixels are filled in
    from the others of each copy; `hidden` is only used where all are masked.
    """

    pixels: FloatArray
    hidden: FloatArray
    frame: Frame
    inpainted: bool = False


@dataclass(frozen=True, eq=False)
class WholeOutputs:
    """The outputs for the unmasked image: one per head, all of a detector, or the scores (1, C) of a callable."""

    outputs: tuple[AnyArray, ...]


class BlackBox(ABC):
    """A model that is used only through its scores and, if it has some, its boxes."""

    input_size_hw: tuple[int, int]
    # What weights the masks.
    explains: ExplainedKind = "score"

    @abstractmethod
    def look(self, image: ImageLike) -> View:
        """The image in the frame of the model's input."""

    def explained_output(self, placed: Sequence[PlacedTarget] = ()) -> WatchedOutput | None:
        """The output that is read from an engine; None for a callable, which only returns scores."""
        return None

    def usual_grid(self, placed: Sequence[PlacedTarget] = ()) -> int:
        """The cells per side of masks if none are stated."""
        return DEFAULT_GRID

    @abstractmethod
    def scores(self, pixels_nchw: FloatArray) -> FloatArray:
        """Scores float32 (N, C)."""

    @abstractmethod
    def aim(self, target: Target) -> AskedTarget:
        """What is explained, before the model has run. Raises OnnxplainError for what cannot be explained."""

    @abstractmethod
    def see_whole(self, view: View) -> WholeOutputs:
        """The outputs for the unmasked image, from one forward pass."""

    @abstractmethod
    def place(self, aims: Sequence[AskedTarget], view: View, whole: WholeOutputs) -> list[PlacedTarget]:
        """The targets on that image, all settled: one each, or for a detector as many as are asked for."""

    @abstractmethod
    def describe(self, placed: PlacedTarget, view: View, whole: WholeOutputs) -> DescribedTarget:
        """What the explanation of a target says of it."""
