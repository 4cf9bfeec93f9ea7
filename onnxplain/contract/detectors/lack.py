"""Why the outputs of a graph do not fit a layout."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum


class LackKind(Enum):
    """What a graph lacks for a layout, what is looked at first before the others. The values are the words for it."""

    NAME = "no output named {expected}"
    AXES = "{found}: expected {expected} axes"
    TYPE = "{found}: expected {expected}"
    COLUMNS = "{found}: expected {expected} columns"
    SIZE = "the size of the input is open"
    COUNT = "{found}: expected {expected} candidates"
    METADATA = "metadata say {found}"
    OPERATORS = "{found}: expected {expected}"
    SEVERAL = "{found} fit the same place"
    CONFLICT = "{found}: the name contradicts the shape, expected {expected} columns"


@dataclass(frozen=True)
class Lack:
    """Why a layout does not fit: what is missing, what was found, and what was expected."""

    kind: LackKind
    found: str = ""
    expected: str = ""

    @property
    def nearness(self) -> int:
        """How many things did fit before this one did not."""
        return list(LackKind).index(self.kind)

    def __str__(self) -> str:
        return self.kind.value.format(found=self.found, expected=self.expected)
