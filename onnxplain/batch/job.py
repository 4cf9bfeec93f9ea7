"""What a process needs to do any part of a batch. All of it can be pickled and sent."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from onnxplain.batch.plan import AT_ONCE
from onnxplain.batch.stores.output import OutputPlace
from onnxplain.runtime.image import DEFAULT_MAX_MEGAPIXELS
from onnxplain.runtime.sessions.batch_size import BatchSizeSearch

if TYPE_CHECKING:
    from onnxplain.explanations.questions import Question
    from onnxplain.runtime.engine import Engine


@dataclass(frozen=True, eq=False)
class BatchJob:
    """The model, the questions for every image, and the place for the parts.

    `run`: the identity of the run, which each part's footer repeats. `model_sha256`: of the file that the engine opens;
    a process that finds another one there refuses to begin.
    """

    engine: Engine
    model_sha256: str
    questions: tuple[Question, ...]
    output: OutputPlace
    run: str
    threads: int
    at_once: int = AT_ONCE
    max_megapixels: float = DEFAULT_MAX_MEGAPIXELS

    def settle(self) -> None:
        """Let this process's engine choose no batch size by timing."""
        self.engine.batch_size_search = BatchSizeSearch([self.engine.fixed_batch or self.at_once])


@dataclass(frozen=True)
class PartTask:
    """A part to do. `left_out`: images that killed their process, by their place in the part.

    `may_all_fail`: whether a part without any explained image may be written. The first one may not: the model or the
    source is then wrong. `alone`: one image per run of the model.
    """

    part: int
    images: tuple[str, ...]
    left_out: frozenset[int] = field(default_factory=frozenset)
    may_all_fail: bool = True
    alone: bool = False


@dataclass(frozen=True)
class TrialTask:
    """Explain each image of a part alone, beginning at the image `start`, and write nothing: which one kills?"""

    part: int
    images: tuple[str, ...]
    start: int = 0
    left_out: frozenset[int] = field(default_factory=frozenset)


@dataclass(frozen=True)
class ImageTrial:
    """Explain the image at one place of a part alone, and write nothing."""

    image: str
    place: int


@dataclass(frozen=True)
class PartProgress:
    """Images of a part that are done so far, and how many of them failed."""

    part: int
    images: int
    failed: int


@dataclass(frozen=True)
class PartDone:
    """A part whose file is there."""

    part: int
    images: int
    failed: int


@dataclass(frozen=True)
class PartLost:
    """A part whose process was killed. It is done again."""

    part: int


BatchEvent = PartProgress | PartDone | PartLost
