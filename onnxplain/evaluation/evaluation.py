"""Results of an evaluation: numbers with intervals, and a reason for each missing number."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from onnxplain.evaluation.curves import Curve, CurveTallies, threshold_curves
from onnxplain.evaluation.journal import Row
from onnxplain.evaluation.metrics.metric import Metric
from onnxplain.evaluation.metrics.statistic import unpack_bits
from onnxplain.evaluation.plan import Plan, Subject, TreePath, lookup, place
from onnxplain.evaluation.tally import Estimate, Tally, draw_weights


@dataclass(frozen=True, eq=False)
class Result:
    """One number for a subject and a metric. `reason`: why the number is missing; empty if it is there."""

    subject: Subject
    metric: Metric
    estimate: Estimate
    reason: str = ""


@dataclass(frozen=True, eq=False)
class Evaluation:
    """A model measured on a data set.

    `model`: the file; `dataset`: its name. `images`: how many records were measured (an image that shows several
    classes counts once for each), `skipped`: how many images, objects and files could not be used. `results`: one per
    subject and metric. `identity`: the inputs of the evaluation, as in run.json. `curves`: of the metrics that are
    measured at every threshold, and of insertion and deletion.
    """

    model: str
    dataset: str
    images: int
    skipped: int
    results: tuple[Result, ...]
    identity: Mapping[str, Any]
    curves: tuple[Curve, ...] = ()

    def value(self, *path: str) -> float | None:
        """A number by its path in `to_json`: ``value("methods", "grad-cam", "maxboxacc")``."""
        found = lookup(self.to_json(), path)
        return found if isinstance(found, int | float) else None

    def to_json(self) -> dict[str, Any]:
        """Plain values. The numbers; ``intervals``, ``counts`` and ``reasons`` have the same paths as the numbers;
        ``definitions``, by kind and name; ``run``, the inputs of the evaluation."""
        numbers: dict[str, Any] = {}
        others: dict[str, dict[str, Any]] = {"intervals": {}, "counts": {}, "reasons": {}}
        for result in self.results:
            path, estimate = (*result.subject.path, result.metric.name), result.estimate
            place(numbers, path, estimate.value)
            for suffix, detail in estimate.details.items():
                place(numbers, (*result.subject.path, f"{result.metric.name}_{suffix}"), detail)
            if estimate.value is None:
                whole = result.subject.path if result.subject.absent else path
                place(others["reasons"], whole, result.reason)
            else:
                if estimate.low is not None:
                    place(others["intervals"], path, [estimate.low, estimate.high])
                place(others["counts"], path, estimate.count)
        head = {"model": Path(self.model).name, "dataset": self.dataset, "images": self.images, "skipped": self.skipped}
        return {**head, **numbers, **others, "definitions": self.definitions(), "run": dict(self.identity)}

    def definitions(self) -> dict[str, dict[str, str]]:
        """The definition of each number, by kind and name."""
        found: dict[str, dict[str, str]] = {}
        for result in self.results:
            found.setdefault(result.metric.kind, {})[result.metric.name] = result.metric.definition
        return found


@dataclass(frozen=True, eq=False)
class Summary:
    """The results and the curves of all rows; how many records were measured, and how many skipped."""

    results: tuple[Result, ...]
    curves: tuple[Curve, ...]
    images: int
    skipped: int


def sum_up(plan: Plan, rows: Iterable[Row], seed: int) -> Summary:
    """The summary of all rows; holds one row at a time."""
    tallies: dict[tuple[TreePath, str], Tally] = {
        (subject.path, metric.name): Tally(metric.statistic) for subject in plan for metric in subject.measured
    }
    curves = CurveTallies(plan)
    images = skipped = 0
    for row in rows:
        if "problem" in row:
            skipped += 1
            continue
        images += 1
        weights = draw_weights(seed, row["image"].removesuffix(f"#{row['label']}"))
        curves.add(row, weights)
        for subject in plan:
            values = lookup(row, subject.path) or {}
            for metric in subject.measured:
                value = values.get(metric.column)
                if isinstance(value, str):
                    value = unpack_bits(value, metric.statistic.length)
                if value is not None:
                    tallies[subject.path, metric.name].add(value, weights)
    nothing = Estimate(None, None, None, 0, {})
    results = []
    for subject in plan:
        for metric in subject.metrics:
            tally = tallies.get((subject.path, metric.name))
            estimate = nothing if tally is None else tally.estimate()
            results.append(Result(subject, metric, estimate, _reason(subject, metric, estimate)))
    return Summary(tuple(results), (*threshold_curves(plan, tallies), *curves.curves()), images, skipped)


def _reason(subject: Subject, metric: Metric, estimate: Estimate) -> str:
    """Why the number is missing; empty if it is there."""
    unmet = subject.unmet(metric)
    if unmet is not None:
        return unmet.otherwise
    if estimate.count:
        return ""
    needed = (need.otherwise for need in metric.needs if need.of_record is not None or need.of_box is not None)
    return next(needed, "no image gave a value")
