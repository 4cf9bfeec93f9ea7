"""What a method that hides parts of an image says of its own work: what was hidden, how often, and the error."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from math import isfinite
from typing import Any

from onnxplain.explainers.masked.explained_output import ExplainedKind
from onnxplain.explainers.method_report import MethodReport, large_error
from onnxplain.runtime.arrays import DoubleArray


@dataclass(frozen=True, eq=False)
class HidingReport(MethodReport):
    """`hidden`: what was hidden, in words, such as "grid of 8 × 8". `copies`: the number of scored copies.

    `planned`: how many were planned; fewer copies mean that Ctrl-C stopped the work. `seed`: None for a method without
    chance. `values`, `standard_error`: float64 (P,), the number of each player and its error, None where there are no
    players or no error is known. `relative_error`: the root mean square of the standard errors over the standard
    deviation of the values. `measured`: further numbers by name; docs/methods.md explains them.
    """

    hidden: str
    copies: int
    planned: int
    seed: int | None = None
    values: DoubleArray | None = field(default=None, repr=False)
    standard_error: DoubleArray | None = field(default=None, repr=False)
    relative_error: float | None = None
    measured: Mapping[str, float] = field(default_factory=dict)
    explain_output: ExplainedKind = "score"
    stopped_early: bool = False

    @property
    def map_error(self) -> float | None:
        """`relative_error`."""
        return self.relative_error

    @property
    def interrupted(self) -> bool:
        """Whether Ctrl-C stopped the work."""
        return self.stopped_early

    @property
    def caution(self) -> str:
        """What the map must not be relied on for: an error as large as its differences."""
        return large_error(self.relative_error)

    def as_json(self) -> dict[str, Any]:
        """All fields except those per player."""
        return {
            "hidden": self.hidden,
            "copies": self.copies,
            "planned": self.planned,
            "seed": self.seed,
            "stopped": "interrupted" if self.stopped_early else "planned",
            "relative_error": self.relative_error,
            **{name: value if isfinite(value) else None for name, value in self.measured.items()},
            "explain_output": self.explain_output,
        }

    def summary(self) -> str:
        """For example "error 3.1 % (1000 copies, superpixels)"; no error for a method without chance."""
        known = "unknown" if self.relative_error is None else f"{100 * self.relative_error:.1f} %"
        error = "" if self.seed is None else f"error {known} "
        copies = f"{self.copies} cop{'y' if self.copies == 1 else 'ies'}"
        return f"{error}({copies}, {self.hidden}{', interrupted' if self.stopped_early else ''})"
