"""Numbers over a threshold or the share of changed pixels: means of all images, with an interval at each point."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt

from onnxplain.errors import OnnxplainError
from onnxplain.evaluation.journal import Row
from onnxplain.evaluation.metrics.metric import Metric
from onnxplain.evaluation.metrics.statistic import MEAN, Statistic
from onnxplain.evaluation.plan import Plan, Subject, TreePath, lookup
from onnxplain.evaluation.tally import Tally
from onnxplain.explainers.levels import LEVELS
from onnxplain.runtime.arrays import DoubleArray

Over = Literal["threshold", "changed pixels"]


@dataclass(frozen=True, eq=False)
class Curve:
    """A metric of one subject along `over`, both axes from 0 to 1.

    `name`: of the curve, if the metric has several (``IoU ≥ 0.3``). `positions`, `values`, `low`, `high`: float64 (n,);
    the 95 % interval holds for each point alone. `count`: the number of images.
    """

    subject: Subject
    metric: Metric
    name: str
    over: Over
    positions: DoubleArray
    values: DoubleArray
    low: DoubleArray
    high: DoubleArray
    count: int


class CurveTallies:
    """The running sums of the curves that rows hold: insertion and deletion."""

    def __init__(self, plan: Plan) -> None:
        self._asked = [(subject, metric) for subject in plan for metric in subject.measured if metric.curve is not None]
        self._tallies: dict[tuple[TreePath, str], Tally] = {}

    def add(self, row: Row, weights: npt.NDArray[np.int64]) -> None:
        """Add the curves of one image. Raises OnnxplainError for a curve of another length than the first."""
        for subject, metric in self._asked:
            curve = (lookup(row, subject.path) or {}).get(metric.curve_column)
            if curve is None:
                continue
            key = subject.path, metric.name
            tally = self._tallies.setdefault(key, Tally(Statistic(len(curve), MEAN.reduce)))
            if len(curve) != tally.statistic.length:
                raise OnnxplainError(
                    f"{row['image']}: found a curve of {len(curve)} points for {metric.name}, expected "
                    f"{tally.statistic.length} as before: run the evaluation again in another folder"
                )
            tally.add(curve, weights)

    def curves(self) -> Iterator[Curve]:
        """One curve per subject and metric."""
        for subject, metric in self._asked:
            tally = self._tallies.get((subject.path, metric.name))
            if tally is not None and tally.count:
                positions = np.linspace(0, 1, tally.statistic.length)
                yield Curve(subject, metric, "", "changed pixels", positions, *tally.pointwise(), tally.count)


def threshold_curves(plan: Iterable[Subject], tallies: Mapping[tuple[TreePath, str], Tally]) -> Iterator[Curve]:
    """The curves of the metrics that are measured at every level: the share of hits at each."""
    for subject in plan:
        for metric in subject.measured:
            tally = tallies[subject.path, metric.name]
            for name, first in metric.statistic.per_level.items():
                if tally.count:
                    part = slice(first, first + LEVELS)
                    values, low, high = (points[part] for points in tally.pointwise())
                    positions = np.arange(LEVELS) / LEVELS
                    yield Curve(subject, metric, name, "threshold", positions, values, low, high, tally.count)
