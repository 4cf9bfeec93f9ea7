"""The report of Augmented Grad-CAM: the number of copies used, and how close the heatmap is to the minimum."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

from onnxplain.explainers.method_report import MethodReport


@dataclass(frozen=True)
class SuperResolutionReport(MethodReport):
    """`copies`: the number of copies. `copies_used`: the number of copies with positive evidence, which were used.

    `objective`: the objective of the heatmap. `gap`: how far the objective can be above the minimum, as a share of the
    objective. `iterations`: of the optimiser. Each is None if the mode does not have it.
    """

    mode: str
    copies: int
    copies_used: int
    objective: float | None = None
    gap: float | None = None
    iterations: int | None = None

    def as_json(self) -> dict[str, Any]:
        """All fields under their names; None becomes null."""
        return asdict(self)

    def summary(self) -> str:
        """For example "100 of 100 copies used, gap 0.9 % after 340 iterations"."""
        text = f"{self.copies_used} of {self.copies} copies used"
        if self.gap is not None:
            text += f", gap {100 * self.gap:.1f} %"
        if self.iterations is not None:
            text += f" after {self.iterations} iterations"
        return text
