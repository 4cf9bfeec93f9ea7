"""The report of RISE: how many masks were used, which ones, why the sampling stopped, and the error of the map."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, TypeAlias

from onnxplain.explainers.masked.explained_output import ExplainedKind
from onnxplain.explainers.method_report import MethodReport
from onnxplain.runtime.arrays import FloatArray

FEWEST_MASKS = 64
"""With fewer, the map is mostly noise."""

Stopped: TypeAlias = Literal["masks", "tolerance", "budget", "interrupted"]
# Why there is no log-linear model of a score.
NoModel: TypeAlias = Literal["difference", "negated", "values", "embedding", "negative", "zero", "infinite", "few"]

_WHY: Mapping[NoModel, str] = {
    "difference": "a difference may be negative",
    "negated": "a negated score is negative",
    "values": "a number may be negative",
    "embedding": "a cosine may be negative",
    "negative": "a score was negative",
    "zero": "the first scores are all 0",
    "infinite": "a score was not finite",
    "few": "too few masks",
}


@dataclass(frozen=True, eq=False)
class SamplingReport(MethodReport):
    """`masks`: the number of scored masked copies. `stopped`: why the sampling stopped; None: it goes on (a stream).

    `estimator`, `seed`: which masks were used and how they were weighted. `explain_output`: the output that weighted
    them. `standard_error`: float32 (h, w), for each pixel of `Explanation.raw`, from 8 independent replicates. The true
    expectation lies within ± 2.36 standard errors in 95 % of pixels (Student's t, 7 degrees of freedom).
    `relative_error`: the root mean square standard error of the map minus its mean, divided by the map's standard
    deviation; with an error e, the map's correlation with the true map is about ``1 / √(1 + e²)``. Both are None below
    16 masks; `relative_error` is also None for a map that is the same everywhere.

    Only for a log-linear estimator: `shrunk`, float32 (h, w), is the map that the heatmap shows, in units of `raw`.
    `shrunk_error`: its relative error, from leaving out each replicate in turn, at least half of `relative_error`.
    `no_model`: why there is none, and the heatmap shows `raw`.
    """

    estimator: str
    seed: int
    masks: int
    stopped: Stopped | None
    relative_error: float | None
    standard_error: FloatArray | None = field(repr=False)
    explain_output: ExplainedKind = "score"
    shrunk: FloatArray | None = field(default=None, repr=False)
    shrunk_error: float | None = None
    no_model: NoModel | None = None

    @property
    def map_error(self) -> float | None:
        """The relative error of the map that the heatmap shows."""
        return self.relative_error if self.shrunk is None else self.shrunk_error

    @property
    def shown(self) -> FloatArray | None:
        """`shrunk`."""
        return self.shrunk

    @property
    def interrupted(self) -> bool:
        """Whether Ctrl-C stopped the sampling."""
        return self.stopped == "interrupted"

    @property
    def caution(self) -> str:
        """How many masks there are if they are too few for a map: fewer than a block of 64."""
        return f"only {self.masks} mask{'s' * (self.masks != 1)}" if self.masks < FEWEST_MASKS else ""

    def as_json(self) -> dict[str, Any]:
        """All fields except arrays; what belongs to a log-linear estimator only if it was asked for."""
        return {
            "estimator": self.estimator,
            "seed": self.seed,
            "masks": self.masks,
            "stopped": self.stopped,
            "relative_error": self.relative_error,
            "explain_output": self.explain_output,
            **(
                {"shrunk_error": self.shrunk_error, "no_model": self.no_model} if "log-linear" in self.estimator else {}
            ),
        }

    def summary(self) -> str:
        """For example "error 3.1 % (800 masks)"."""
        error = "unknown" if self.map_error is None else f"{100 * self.map_error:.1f} %"
        model = "" if self.no_model is None else f", no log-linear model: {_WHY[self.no_model]}"
        return f"error {error} ({self.masks} masks{', interrupted' if self.interrupted else ''}{model})"
