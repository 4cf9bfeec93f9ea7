"""The engine's outputs that weight the masks: the class scores, or also how well the box keeps its place."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Literal, TypeAlias, get_args

import numpy as np
import numpy.typing as npt

from onnxplain.contract import HeadSpec
from onnxplain.errors import OnnxplainError, UnsupportedError
from onnxplain.explainers.aimed.placed_target import PlacedTarget, explained_columns, heads_of
from onnxplain.runtime.arrays import FloatArray
from onnxplain.runtime.box import decode_boxes, paired_iou
from onnxplain.runtime.engine import Engine
from onnxplain.runtime.head_scores import head_output

ExplainOutput: TypeAlias = Literal["score", "box"]
# What weights the masks: what the user chose, or the detections of a detector.
ExplainedKind: TypeAlias = Literal["score", "box", "detection"]
Outputs: TypeAlias = Sequence[npt.NDArray[Any]]


class WatchedOutput(ABC):
    """Values that are read from an engine for every masked copy, one column per target."""

    engine: Engine

    @property
    def one_image(self) -> bool:
        """Whether the outputs hold one image at most."""
        return False

    @property
    def reads_rows(self) -> bool:
        """Whether each row of the outputs is read by itself, so that batches can be joined before."""
        return False

    @property
    @abstractmethod
    def output_names(self) -> list[str]:
        """The names of the file's outputs that are needed."""

    @abstractmethod
    def of_whole(self, outputs: Outputs) -> Outputs:
        """Those outputs, from all that a black box keeps of the unmasked image."""

    @abstractmethod
    def read(self, outputs: Outputs, whole: Outputs) -> FloatArray:
        """The values, float32 (N, T), from those outputs for N masked copies and for the whole image."""


@dataclass(frozen=True)
class ExplainedOutput(WatchedOutput):
    """The values to read from an engine: one column per target of `placed`; without any, one per class.

    "score": the shown scores. "box": for a class, ``score · IoU(box of the masked copy, box of the whole image)``.
    This is D-RISE's similarity of two detections (Petsiuk et al. 2021) for the single detection of a localizer, with
    the score of the class instead of the cosine between the score vectors. Raises UnsupportedError for "box" if the
    file has no box head, OnnxplainError for any other name.
    """

    engine: Engine
    explain_output: ExplainOutput = "score"
    placed: tuple[PlacedTarget, ...] = ()

    def __post_init__(self) -> None:
        check_explain_output(self.explain_output)
        if self.explain_output == "box" and self.engine.spec.box is None:
            raise UnsupportedError(
                f'explain_output: found "box" for {self.engine.source} without a box head, expected a localizer: '
                'explain the "score", or name the box output with `onnxplain instrument --box NAME`'
            )

    @property
    def reads_rows(self) -> bool:
        """Always."""
        return True

    @cached_property
    def _heads(self) -> list[HeadSpec]:
        return heads_of(self.placed) or [self.engine.spec.head]

    @property
    def output_names(self) -> list[str]:
        """Those of the heads, and the box output if it is needed."""
        box = [str(self.engine.spec.outputs.box)] if self.explain_output == "box" else []
        return [*map(head_output, self._heads), *box]

    def of_whole(self, outputs: Outputs) -> Outputs:
        """Those outputs, from one per head."""
        named = dict(zip(self.engine.head_outputs, outputs, strict=True))
        return [named[name] for name in self.output_names]

    def read(self, outputs: Outputs, whole: Outputs) -> FloatArray:
        """The explained values, float32 (N, T)."""
        named = {head.name: output for head, output in zip(self._heads, outputs, strict=False)}
        scores = explained_columns(self.placed, named) if self.placed else self.engine.class_scores(outputs[0])
        if self.explain_output == "score":
            return scores
        boxes, box = self._decode(outputs[-1]), self._decode(whole[-1])
        return scores * paired_iou(boxes, np.broadcast_to(box, boxes.shape))[:, None]

    def _decode(self, boxes: npt.NDArray[Any]) -> FloatArray:
        assert self.engine.spec.box is not None  # checked on construction
        return decode_boxes(boxes, self.engine.spec.box, self.engine.spec.input.size_hw)


def check_explain_output(explain_output: ExplainOutput) -> None:
    """Raise OnnxplainError for anything but "score" and "box"."""
    if explain_output not in get_args(ExplainOutput):
        raise OnnxplainError(
            f"explain_output: found {explain_output!r}, expected one of {', '.join(get_args(ExplainOutput))}"
        )
