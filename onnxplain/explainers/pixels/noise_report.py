"""How exact a map is that was made from random copies of an image."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from onnxplain.explainers.method_report import MethodReport, large_error
from onnxplain.runtime.arrays import DoubleArray


@dataclass(frozen=True, eq=False)
class NoiseReport(MethodReport):
    """`samples`: copies, drawn with `seed`. `standard_error`: float64 (H, W), for each pixel of `Explanation.raw`, by
    the jackknife over groups of copies. `relative_error`: its root mean square over the map's standard deviation.

    Both are None below 16 copies; `relative_error` also for a map that is the same everywhere, or not finite.
    """

    samples: int
    seed: int
    relative_error: float | None
    standard_error: DoubleArray | None = field(default=None, repr=False)

    @property
    def map_error(self) -> float | None:
        """`relative_error`."""
        return self.relative_error

    @property
    def caution(self) -> str:
        """An error as large as the differences of the map."""
        return large_error(self.relative_error)

    def as_json(self) -> dict[str, Any]:
        """All fields except the standard error per pixel."""
        return {"samples": self.samples, "seed": self.seed, "relative_error": self.relative_error}

    def summary(self) -> str:
        """For example "error 3.1 % (50 samples)"."""
        error = "unknown" if self.relative_error is None else f"{100 * self.relative_error:.1f} %"
        return f"error {error} ({self.samples} samples)"
