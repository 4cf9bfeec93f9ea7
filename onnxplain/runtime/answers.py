"""What a model answers about one image: one frozen value per head."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from onnxplain.contract import HeadSpec
from onnxplain.errors import OnnxplainError
from onnxplain.runtime.arrays import AnyArray, FloatArray
from onnxplain.runtime.box import Corners, decode_boxes, place_boxes
from onnxplain.runtime.head_scores import cosine, head_numbers, head_probabilities, head_scores
from onnxplain.runtime.heads.label_map import LabelMap, draw_label_map

if TYPE_CHECKING:
    from onnxplain.runtime.geometry import Frame

LABEL_THRESHOLD = 0.5


@dataclass(frozen=True)
class ScoredLabel:
    """An entry of a head, its label (its index as text without labels), and its score."""

    index: int
    label: str
    score: float


@dataclass(frozen=True, eq=False)
class Classes:
    """One of C classes. `scores`: softmax scores, float32 (C,)."""

    head: HeadSpec
    scores: FloatArray

    def top(self, k: int = 1) -> list[ScoredLabel]:
        """The k best classes, best first. Equal scores are ordered by index."""
        return _ranked(self.head, self.scores, k)


@dataclass(frozen=True, eq=False)
class Labels:
    """Any of L labels; L = 1 is a binary model. `scores`: the probability of each, float32 (L,)."""

    head: HeadSpec
    scores: FloatArray

    def top(self, k: int = 1) -> list[ScoredLabel]:
        """The k most probable labels, best first."""
        return _ranked(self.head, self.scores, k)

    def above(self, threshold: float = LABEL_THRESHOLD) -> list[ScoredLabel]:
        """The labels whose probability is at least `threshold`, best first."""
        return _ranked(self.head, self.scores, int((self.scores >= threshold).sum()))


@dataclass(frozen=True, eq=False)
class Values:
    """Numbers such as an age, float32 (K,), in the unit ``head.unit`` if the file says one."""

    head: HeadSpec
    numbers: FloatArray

    @property
    def unit(self) -> str | None:
        """The unit of the numbers."""
        return self.head.unit


@dataclass(frozen=True)
class BoxAnswer:
    """A box: x1, y1, x2, y2 in pixels of the original image, clipped to it."""

    head: HeadSpec
    xyxy: Corners


@dataclass(frozen=True, eq=False)
class Embedding:
    """A vector, float32 (D,), as the file gives it."""

    head: HeadSpec
    vector: FloatArray

    def cosine(self, other: Embedding | npt.ArrayLike) -> float:
        """The cosine of the angle to another vector of D numbers; NaN for a vector of zeros. Raises OnnxplainError."""
        vector = np.asarray(other.vector if isinstance(other, Embedding) else other, np.float32)
        if vector.shape != self.vector.shape:
            raise OnnxplainError(f"cosine: found a vector {vector.shape}, expected {self.vector.shape}")
        return float(cosine(self.vector[None], vector[None])[0, 0])


@dataclass(frozen=True, eq=False)
class Mask:
    """A class for each pixel. `probabilities`: float32 (C, h, w), at the model's own resolution."""

    head: HeadSpec
    probabilities: FloatArray
    frame: Frame

    @cached_property
    def _drawn(self) -> LabelMap:
        return draw_label_map(self.probabilities, self.frame, independent=self.head.sigmoid)

    @property
    def label_map(self) -> npt.NDArray[np.int16]:
        """The class of each pixel of the original image, int16 (H, W): the most probable one after bilinear enlarging.

        −1 where the model does not see the image; where classes are independent (Sigmoid), also where no probability
        reaches 0.5. Computed on first use.
        """
        return self._drawn.labels

    @property
    def shares(self) -> FloatArray:
        """The share of the pixels seen by the model that each class takes, float32 (C,).

        Classes that are independent may overlap. Computed on first use.
        """
        return self._drawn.shares

    def top(self, k: int = 1) -> list[ScoredLabel]:
        """The k classes with the largest shares."""
        return _ranked(self.head, self.shares, k)


Answer = Classes | Labels | Values | BoxAnswer | Embedding | Mask


def read_answers(
    heads: Sequence[HeadSpec], outputs: Sequence[AnyArray], frames: Sequence[Frame]
) -> list[tuple[Answer, ...]]:
    """Per image the answer of each head, from one output per head (`head_output`)."""
    columns = [_answers(head, output, frames) for head, output in zip(heads, outputs, strict=True)]
    return list(zip(*columns, strict=True))


def _answers(head: HeadSpec, output: AnyArray, frames: Sequence[Frame]) -> list[Answer]:
    """The answer of one head for each image."""
    if head.kind == "classes":
        return [Classes(head, row) for row in head_scores(head, output)]
    if head.kind == "labels":
        return [Labels(head, row) for row in head_scores(head, output)]
    if head.kind == "values":
        return [Values(head, row) for row in head_numbers(head, output)]
    if head.kind == "embedding":
        return [Embedding(head, row) for row in head_numbers(head, output)]
    if head.kind == "mask":
        maps = head_probabilities(head, output)
        return [Mask(head, each, frame) for each, frame in zip(maps, frames, strict=True)]
    assert head.box is not None
    size_hw = frames[0].input_size_hw
    boxes = place_boxes(decode_boxes(head_numbers(head, output), head.box, size_hw), frames)
    return [BoxAnswer(head, box) for box in boxes]


def _ranked(head: HeadSpec, scores: FloatArray, count: int) -> list[ScoredLabel]:
    """The best `count` entries. Labels are looked up for these alone: there may be thousands."""
    order = np.argsort(-scores, kind="stable")[:count]
    return [ScoredLabel(int(index), head.label(int(index)), float(scores[index])) for index in order]
