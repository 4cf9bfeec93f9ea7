"""The rule that stops the sampling of RISE."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from onnxplain.errors import OnnxplainError

# With fewer masks the estimate of the error is not reliable enough.
LEAST_MASKS_FOR_TOLERANCE = 128


@dataclass(frozen=True)
class StoppingRule:
    """Stop after `masks` masks, or when the relative error is below `tolerance`, or after `budget_seconds`.

    None: no such limit. Raises OnnxplainError for values out of range.
    """

    masks: int
    tolerance: float | None = None
    budget_seconds: float | None = None

    def __post_init__(self) -> None:
        if self.masks < 1:
            raise OnnxplainError(f"masks: found {self.masks}, expected at least 1")
        for name, value in (("tolerance", self.tolerance), ("budget_seconds", self.budget_seconds)):
            if value is not None and not 0 < value < float("inf"):
                raise OnnxplainError(f"{name}: found {value}, expected a positive number, or None for no limit")

    def watches(self, masks: int) -> bool:
        """Whether to check the error after this many masks."""
        return self.tolerance is not None and masks >= LEAST_MASKS_FOR_TOLERANCE

    def satisfied_by(self, relative_errors: Sequence[float | None]) -> bool:
        """Whether every target's error is known and below the tolerance."""
        return all(
            error is not None and self.tolerance is not None and error < self.tolerance for error in relative_errors
        )
