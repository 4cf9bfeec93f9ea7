"""A method's report on its own work, such as the accuracy of the heatmap."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any

from onnxplain.runtime.arrays import FloatArray


class MethodReport(ABC):
    """Base of the frozen reports that methods attach to an `Explanation`."""

    @abstractmethod
    def as_json(self) -> dict[str, Any]:
        """The values for a line of explanations.jsonl: no arrays, no NaN, no infinity."""

    @abstractmethod
    def summary(self) -> str:
        """A few words for a terminal, for example "error 3.1 % (800 masks)"."""

    @property
    def map_error(self) -> float | None:
        """How exact the map is: the standard error of its pixels over its standard deviation; None if unknown."""
        return None

    @property
    def shown(self) -> FloatArray | None:
        """The map that the heatmap shows, float32 (h, w), in units of `Explanation.raw`; None where that is `raw`."""
        return None

    @property
    def caution(self) -> str:
        """A few words for the picture if the map must not be relied on, for example "only 5 masks"; else empty."""
        return ""

    @property
    def interrupted(self) -> bool:
        """Whether the user stopped the work. Nothing more should be started then."""
        return False


def large_error(relative_error: float | None) -> str:
    """The caution for a map whose error is as large as its differences; else empty."""
    return "error as large as the map" if relative_error is not None and relative_error >= 1 else ""
