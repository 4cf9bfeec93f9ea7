"""The numbering of targets: one integer for each scalar of all heads that can be explained."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate
from typing import Protocol, TypeVar

from onnxplain.contract.heads.spec import HeadKind, HeadSpec

PREDICTED = -1
"""The target that means: the default head's best entry (value 0, or the cosine)."""


@dataclass(frozen=True)
class Entry:
    """One scalar of a model: entry `index` of a head."""

    head: HeadSpec
    index: int


@dataclass(frozen=True)
class Numbering:
    """The targets of a model, 0 … count − 1: the entries of its heads, one head after the other."""

    heads: tuple[HeadSpec, ...]

    @property
    def starts(self) -> tuple[int, ...]:
        """The first target of each head, and the number of all targets."""
        return tuple(accumulate((head.entries for head in self.heads), initial=0))

    @property
    def count(self) -> int:
        """Number of targets."""
        return self.starts[-1]

    def entry(self, target: int) -> Entry:
        """The head and the entry of a target of 0 or more. Raises IndexError for a target that does not exist."""
        for head, start in zip(self.heads, self.starts, strict=False):
            if start <= target < start + head.entries:
                return Entry(head, target - start)
        raise IndexError(target)

    def target(self, head: HeadSpec, index: int) -> int:
        """The target of an entry of a head."""
        return self.starts[self.heads.index(head)] + index


class NamedKind(Protocol):
    """A head, wherever it was found."""

    @property
    def name(self) -> str:
        """Its name."""

    @property
    def kind(self) -> HeadKind:
        """What it answers with."""


AnyHead = TypeVar("AnyHead", bound=NamedKind)


def default_head(heads: Sequence[NamedKind]) -> int:
    """The position of the head that is explained if none is named: the first of classes or labels, else the first."""
    told = [position for position, head in enumerate(heads) if head.kind in ("classes", "labels")]
    return told[0] if told else 0


def order_heads(heads: Sequence[AnyHead], default: str | None = None) -> tuple[AnyHead, ...]:
    """The heads as targets count them: the default head, its box, then the others in the order of the outputs.

    `default` names the default head; None: see `default_head`.
    """
    names = [head.name for head in heads]
    first = heads[default_head(heads) if default is None else names.index(default)]
    rest = [head for head in heads if head is not first]
    boxes = [head for head in rest if head.kind == "box"][:1]
    return (first, *boxes, *(head for head in rest if head not in boxes))
