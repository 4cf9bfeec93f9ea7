"""What an average over copies says of its work: which copies, and the report of each."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from onnxplain.explainers.method_report import MethodReport, large_error


@dataclass(frozen=True)
class CopiesReport(MethodReport):
    """`copies`: the averaged copies in words, the image itself first. `planned`: how many there should be.

    `reports`: the method's own report for each copy, None where it has none. `relative_error`: the standard error of
    the mean map over its standard deviation: the errors of the copies, each with a seed of its own, are independent.
    None where a copy's error is not known.
    """

    copies: tuple[str, ...]
    planned: int
    reports: Sequence[MethodReport | None] = field(default=(), repr=False)
    relative_error: float | None = None
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
        """The first caution of a copy; where the error of the mean is known, that counts instead of a copy's."""
        known = self.relative_error is not None
        cautions = [
            each.caution
            for each in self.reports
            if each is not None and not (known and each.caution == large_error(each.map_error))
        ]
        return next(filter(None, cautions), large_error(self.relative_error))

    def as_json(self) -> dict[str, Any]:
        """The method's own report for the image itself, the error of the mean, and the copies."""
        own = self.reports[0] if self.reports else None
        return {
            **({} if own is None else own.as_json()),
            "relative_error": self.relative_error,
            "test_time": {
                "copies": list(self.copies),
                "planned": self.planned,
                "stopped": "interrupted" if self.stopped_early else "planned",
            },
        }

    def summary(self) -> str:
        """For example "error 3.1 % (mean of 4 copies)"; without an error, what the method says of the image itself."""
        mean = f"mean of {len(self.copies)} cop{'y' if len(self.copies) == 1 else 'ies'}"
        mean += ", interrupted" if self.stopped_early else ""
        if self.relative_error is not None:
            return f"error {100 * self.relative_error:.1f} % ({mean})"
        own = self.reports[0].summary() if self.reports and self.reports[0] is not None else ""
        return f"{own}, {mean}" if own else mean
