"""What a method says of its own work, beside the heatmap: how exact it is, and how that is known."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any


class MethodReport(ABC):
    """Base of the frozen reports that methods attach to an `Explanation`."""

    @abstractmethod
    def as_json(self) -> dict[str, Any]:
        """The numbers that fit a line of explanations.jsonl: no arrays, nothing that is not finite."""

    @abstractmethod
    def summary(self) -> str:
        """A few words for a terminal, such as "error 3.1 % (800 masks)"."""

    @property
    def interrupted(self) -> bool:
        """Whether the user ended the work, so that nothing more should be begun."""
        return False
