"""The report of RISE: how many masks were used, which ones, why the sampling stopped, and the error of the map."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Literal, TypeAlias

from onnxplain.explainers.masked.explained_output import ExplainedKind
from onnxplain.explainers.method_report import MethodReport
from onnxplain.runtime.arrays import FloatArray

FEWEST_MASKS = 64
"""With fewer, the map is mostly noise."""

Stopped: TypeAlias = Literal["masks", "tolerance", "budget", "interrupted"]


@dataclass(frozen=True, eq=False)
class SamplingReport(MethodReport):
    """`masks`: the number of scored masked copies. `stopped`: why the sampling stopped; None: it goes on (a stream).

    `estimator`, `seed`: which masks were used and how they were weighted. `explain_output`: the output that weighted
    them. `standard_error`: float32 (h, w), for each pixel of `Explanation.raw`, from 8 independent replicates. The true
    expectation lies within ± 2.36 standard errors in 95 % of pixels (Student's t, 7 degrees of freedom).
    `relative_error`: the root mean square standard error of the map minus its mean, divided by the map's standard
    deviation; with an error e, the map's correlation with the true map is about ``1 / √(1 + e²)``. Both are None below
    16 masks; `relative_error` is also None for a map that is the same everywhere.
    """

    estimator: str
    seed: int
    masks: int
    stopped: Stopped | None
    relative_error: float | None
    standard_error: FloatArray | None = field(repr=False)
    explain_output: ExplainedKind = "score"

    @property
    def map_error(self) -> float | None:
        """`relative_error`."""
        return self.relative_error

    @property
    def interrupted(self) -> bool:
        """Whether Ctrl-C stopped the sampling."""
        return self.stopped == "interrupted"

    @property
    def caution(self) -> str:
        """How many masks there are if they are too few for a map: fewer than a block of 64."""
        return f"only {self.masks} mask{'s' * (self.masks != 1)}" if self.masks < FEWEST_MASKS else ""

    def as_json(self) -> dict[str, Any]:
        """All fields except the standard error per pixel."""
        return {
            "estimator": self.estimator,
            "seed": self.seed,
            "masks": self.masks,
            "stopped": self.stopped,
            "relative_error": self.relative_error,
            "explain_output": self.explain_output,
        }

    def summary(self) -> str:
        """For example "error 3.1 % (800 masks)"."""
        error = "unknown" if self.relative_error is None else f"{100 * self.relative_error:.1f} %"
        return f"error {error} ({self.masks} masks{', interrupted' if self.interrupted else ''})"
