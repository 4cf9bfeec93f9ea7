"""What Augmented Grad-CAM says of its own work: how many copies spoke, and how near the minimum the answer is."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

from onnxplain.explainers.method_report import MethodReport


@dataclass(frozen=True)
class SuperResolutionReport(MethodReport):
    """`copies` were drawn, `copies_used` of them had positive evidence and entered.

    `objective` is that of the heatmap, `gap` how far it can be above the minimum, as a share of itself, `iterations`
    those of the optimiser; None where the mode has no such thing.
    """

    mode: str
    copies: int
    copies_used: int
    objective: float | None = None
    gap: float | None = None
    iterations: int | None = None

    def as_json(self) -> dict[str, Any]:
        """All of it under the same names; null stands for None."""
        return asdict(self)

    def summary(self) -> str:
        """Such as "100 of 100 copies, gap 0.9 % after 340 iterations"."""
        text = f"{self.copies_used} of {self.copies} copies"
        if self.gap is not None:
            text += f", gap {100 * self.gap:.1f} %"
        if self.iterations is not None:
            text += f" after {self.iterations} iterations"
        return text
