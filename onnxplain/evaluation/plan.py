"""What an evaluation measures, and why it does not measure the rest; known before the first image."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from onnxplain.evaluation.metrics.metric import BOX_HEAD, TRAINING_SPLIT, Facts, Kind, Metric, Requirement

CLASSIFICATION, BOX = ("classification",), ("box",)
CENTER_BOX, CENTER_GAUSSIAN, MEAN_BOX = (("baselines", name) for name in ("center_box", "center_gaussian", "mean_box"))

TreePath = tuple[str, ...]
"""Path of results in nested objects: `("methods", "cam")`."""


def method_path(name: str) -> TreePath:
    """Path of the results of a method."""
    return "methods", name


@dataclass(frozen=True)
class Subject:
    """Something that is measured: the model's classes, its boxes, the heatmaps of a method, a baseline.

    `path`: of its results in rows and summaries. `metrics`: all that were asked for. `absent`: the unmet requirement
    if none of them can be measured, else None.
    """

    path: TreePath
    kind: Kind
    metrics: tuple[Metric, ...]
    facts: Facts
    absent: Requirement | None = None

    @property
    def measured(self) -> tuple[Metric, ...]:
        """The metrics that are measured on each image."""
        return tuple(metric for metric in self.metrics if self.unmet(metric) is None)

    def unmet(self, metric: Metric) -> Requirement | None:
        """The unmet requirement of a metric; None if the metric is measured."""
        return self.absent or metric.unmet(self.facts)


@dataclass(frozen=True)
class Plan:
    """All subjects, in the order of the report."""

    subjects: tuple[Subject, ...]

    def __iter__(self) -> Iterator[Subject]:
        return iter(self.subjects)

    def __getitem__(self, path: TreePath) -> Subject:
        return next(subject for subject in self.subjects if subject.path == path)


def make_plan(
    metrics: Sequence[Metric], facts: Facts, methods: Sequence[str], foreign: Sequence[str], *, mean_box: bool
) -> Plan:
    """The subjects of an evaluation and their metrics.

    `methods`: whose heatmaps are made here; `foreign`: names of heatmaps from folders; `mean_box`: whether there is a
    training split. Baselines are only for localization. Subjects without a metric are left out.
    """

    facts = replace(facts, training_split=mean_box)

    def subject(path: TreePath, kind: Kind, needs: Requirement | None = None, *, explained: bool = False) -> Subject:
        asked = tuple(metric for metric in metrics if metric.kind == kind)
        if path[0] == "baselines":
            asked = tuple(metric for metric in asked if not metric.of_predicted)
        absent = None if needs is None or needs.met(facts) else needs
        return Subject(path, kind, asked, replace(facts, explained=explained), absent)

    subjects = [
        subject(CLASSIFICATION, "prediction"),
        subject(BOX, "box", BOX_HEAD),
        *(subject(method_path(name), "heatmap", explained=True) for name in methods),
        *(subject(method_path(name), "heatmap") for name in foreign),
        subject(CENTER_BOX, "box"),
        subject(CENTER_GAUSSIAN, "heatmap"),
        subject(MEAN_BOX, "box", TRAINING_SPLIT),
    ]
    return Plan(tuple(each for each in subjects if each.metrics))


def lookup(tree: Mapping[str, Any], path: TreePath) -> Any:
    """The value at a path of nested objects; None if there is none."""
    found: Any = tree
    for name in path:
        found = found.get(name) if isinstance(found, Mapping) else None
    return found


def place(tree: dict[str, Any], path: TreePath, value: Any) -> None:
    """Put a value at a path of nested objects."""
    for name in path[:-1]:
        tree = tree.setdefault(name, {})
    tree[path[-1]] = value
