"""What RISE says of its own work: how many masks, from where, why no more, and how exact the map is."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Literal, TypeAlias

from onnxplain.explainers.masked.explained_output import ExplainOutput
from onnxplain.explainers.method_report import MethodReport
from onnxplain.runtime.arrays import FloatArray

Stopped: TypeAlias = Literal["masks", "tolerance", "budget", "interrupted"]


@dataclass(frozen=True, eq=False)
class SamplingReport(MethodReport):
    """`masks`: masked copies that were scored. `stopped`: what ended it; None: it goes on (a moment of a stream).

    `estimator`, `seed`: which masks they were, and how they were weighed; `explain_output`: by what.
    `standard_error`: float32 (h, w), of each pixel of `Explanation.raw`, from 8 independent replicates: the true
    expectation lies within ± 2.36 of it in 95 % of pixels (Student's t, 7 degrees of freedom). `relative_error`: the
    root mean square error of the map's form, the map less its mean, over its standard deviation, see
    `MapEstimate.relative_error`. Both None below 16 masks, the latter also for a map without a range.
    """

    estimator: str
    seed: int
    masks: int
    stopped: Stopped | None
    relative_error: float | None
    standard_error: FloatArray | None = field(repr=False)
    explain_output: ExplainOutput = "score"

    @property
    def interrupted(self) -> bool:
        """Whether Ctrl-C ended it."""
        return self.stopped == "interrupted"

    def as_json(self) -> dict[str, Any]:
        """All but the error per pixel."""
        return {
            "estimator": self.estimator,
            "seed": self.seed,
            "masks": self.masks,
            "stopped": self.stopped,
            "relative_error": self.relative_error,
            "explain_output": self.explain_output,
        }

    def summary(self) -> str:
        """Such as "error 3.1 % (800 masks)"."""
        error = "unknown" if self.relative_error is None else f"{100 * self.relative_error:.1f} %"
        return f"error {error} ({self.masks} masks{', interrupted' if self.interrupted else ''})"
