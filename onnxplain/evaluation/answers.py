"""Evaluation of answers that are no single class: average precision of labels, mean absolute error of a number.

One line per image is written as soon as the image is measured, so that a killed run continues. The numbers are computed
from these lines alone.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from onnxplain.contract.arguments import checked
from onnxplain.data.answer_scores import average_precision, mean_absolute_error
from onnxplain.data.dataset import DataSet, image_key
from onnxplain.data.loading import load_pixels
from onnxplain.data.problem import ProblemError
from onnxplain.data.record import Record
from onnxplain.errors import OnnxplainError, UnsupportedError
from onnxplain.evaluation.identity import identify_dataset, identify_model
from onnxplain.evaluation.journal import Journal, Row
from onnxplain.evaluation.matching import match_labels
from onnxplain.evaluation.tally import CONFIDENCE, draw_weights
from onnxplain.runtime.arrays import DoubleArray
from onnxplain.runtime.engine import Engine
from onnxplain.version import __version__

MEASURED_KINDS = ("labels", "values")
"""The kinds of heads whose answers are measured here; `evaluate` measures heads of classes."""

_NAMES = {"labels": "mean_average_precision", "values": "mean_absolute_error"}


@dataclass(frozen=True)
class AnswerEvaluation:
    """How good a model's labels or number are on a data set.

    `metric`: "mean_average_precision", in [0, 1], or "mean_absolute_error", in the unit of the number. `value`, with
    its 95 % interval `low`, `high` over images. `baseline`: the same for an answer that does not look at the image: of
    labels, equal scores for all images; of a number, the median of the data set. `per_label`: average precision of each
    label that an image shows. `images`, `skipped`: how many were measured, and could not be used.
    """

    model: str
    dataset: str
    metric: str
    value: float
    low: float
    high: float
    baseline: float
    per_label: Mapping[str, float]
    images: int
    skipped: int
    identity: Mapping[str, Any]

    def to_json(self) -> dict[str, Any]:
        """Plain values."""
        return {
            "model": Path(self.model).name,
            "dataset": self.dataset,
            "images": self.images,
            "skipped": self.skipped,
            self.metric: self.value,
            "interval": [self.low, self.high],
            "baseline": self.baseline,
            "per_label": dict(self.per_label),
            "run": dict(self.identity),
        }


@checked
def evaluate_answers(
    engine: Engine,
    dataset: DataSet,
    *,
    column: str | None = None,
    output: str | Path | None = None,
    seed: int = 0,
    strict: bool = False,
    on_row: Callable[[int, int, Row], None] | None = None,
) -> AnswerEvaluation:
    """Measure the answers of the default head, of kind labels or values, on every image of a data set.

    Labels are matched by name. A number is compared with a column of the data set: `column`, or the only one; of a head
    of several values the one with that label, else the first. `output`, `seed`, `strict`, `on_row` as for `evaluate`.

    Raises UnsupportedError for a head of another kind; OnnxplainError for labels that the model does not have, for a
    column that is not there, for a folder with another evaluation, and if no image can be used.
    """
    head = engine.spec.head
    if head.kind not in MEASURED_KINDS:
        raise UnsupportedError(
            f"{engine.source}: found a default head of kind {head.kind}, expected labels or values: name another head "
            "with --head NAME:KIND"
        )
    truths = _label_truths(engine, dataset) if head.kind == "labels" else _number_truths(dataset, column)
    identity = json.loads(
        json.dumps(
            {
                "onnxplain": __version__,
                "model": identify_model(engine),
                "dataset": identify_dataset(dataset),
                "head": head.name,
                "column": truths.column,
                "seed": seed,
            }
        )
    )
    with ExitStack() as opened:
        journal = None if output is None else opened.enter_context(Journal(Path(output), identity))
        rows: list[Row] = [] if journal is None else list(journal.rows())
        for row in _measured(engine, truths, len(rows), strict, on_row):
            rows.append(row)
            if journal is not None:
                journal.add(row)
        used = [row for row in rows if "problem" not in row]
        if not used:
            raise OnnxplainError(f"{dataset.name}: found no usable image, expected at least one")
        skipped = len(rows) - len(used) + dataset.skipped
        score = _score_labels if head.kind == "labels" else _score_number
        numbers = score(used, _weights(used, seed), truths.names)
        found = AnswerEvaluation(
            str(engine.source), dataset.name, _NAMES[head.kind], *numbers, len(used), skipped, identity
        )
        if journal is not None:
            journal.finish(found.to_json())
    return found


@dataclass(frozen=True, eq=False)
class _Truths:
    """The images with what is true of each: flags per label, or one number. `entries`: those of the head to compare."""

    images: Sequence[Record]
    values: npt.NDArray[Any]
    entries: Sequence[int]
    names: tuple[str, ...]
    column: str | None = None


def _label_truths(engine: Engine, dataset: DataSet) -> _Truths:
    ids = match_labels(engine, dataset, unlabelled=True)
    names = tuple(ids)
    position = {label: index for index, label in enumerate(names)}
    rows: dict[object, int] = {}
    images: list[Record] = []
    for record in dataset.records:
        if image_key(record) not in rows:
            rows[image_key(record)] = len(images)
            images.append(record)
    values = np.zeros((len(images), len(names)), np.bool_)
    for record in dataset.records:
        if record.label:
            values[rows[image_key(record)], position[record.label]] = True
    return _Truths(images, values, tuple(ids.values()), names)


def _number_truths(dataset: DataSet, column: str | None) -> _Truths:
    columns = dataset.columns
    if column is None and len(columns) != 1:
        raise OnnxplainError(
            f"{dataset.name}: found the columns of numbers {', '.join(columns) or 'none'}, expected one: name one with "
            "--column"
        )
    chosen = columns[0] if column is None else column
    if chosen not in columns:
        raise OnnxplainError(f"{dataset.name}: found no column {chosen!r}, expected one of {', '.join(columns)}")
    seen: dict[object, Record] = {}
    for record in dataset.records:
        if chosen in record.numbers:
            seen.setdefault(image_key(record), record)
    images = list(seen.values())
    return _Truths(images, np.array([[r.numbers[chosen]] for r in images], np.float64), (0,), (chosen,), chosen)


def _measured(
    engine: Engine, truths: _Truths, done: int, strict: bool, on_row: Callable[[int, int, Row], None] | None
) -> Iterator[Row]:
    """One row per image behind the first `done`: its name, its scores or number, and the truth."""
    entries = list(truths.entries)
    labels = engine.spec.head.labels
    if truths.column is not None and truths.column in labels:
        entries = [labels.index(truths.column)]
    for index in range(done, len(truths.images)):
        record = truths.images[index]
        try:
            pixels = load_pixels(record, engine.read)
            answer = engine.entry_scores(engine.prepare([pixels]).pixels)[0]
            found = [float(answer[entry]) for entry in entries]
            if not np.isfinite(found).all():
                raise OnnxplainError(f"{record.name}: found an answer that is not finite, expected finite numbers")
            row: Row = {"image": record.name, "answers": found, "truths": truths.values[index].tolist()}
        except ProblemError as error:
            if strict:
                raise
            problem = error.problem
            row = {"problem": {"path": str(problem.path), "line": problem.line, "message": problem.message}}
        yield row
        if on_row is not None:
            on_row(index + 1, len(truths.images), row)


def _weights(rows: Sequence[Row], seed: int) -> DoubleArray:
    """How often each replicate draws each image, (1 + replicates, N); the first row counts every image once."""
    drawn = [draw_weights(seed, row["image"]) for row in rows]
    return np.concatenate([np.ones((1, len(rows))), np.array(drawn, np.float64).T])


def _score_labels(
    rows: Sequence[Row], weights: DoubleArray, names: Sequence[str]
) -> tuple[float, float, float, float, dict[str, float]]:
    """Mean average precision, its interval, the same of equal scores, and each label's own."""
    scores = np.array([row["answers"] for row in rows], np.float64)
    truths = np.array([row["truths"] for row in rows], np.bool_)
    each = [average_precision(*columns) for columns in zip(scores.T, truths.T, strict=True)]
    known = {name: value for name, value in zip(names, each, strict=True) if value is not None}
    if not known:
        raise OnnxplainError("labels: found no image that shows one, expected at least one")
    replicates = []
    for drawn in weights[1:]:
        rows_drawn = np.repeat(np.arange(len(rows)), drawn.astype(np.int64))
        values = [average_precision(scores[rows_drawn, k], truths[rows_drawn, k]) for k in range(len(names))]
        present = [value for value in values if value is not None]
        if present:
            replicates.append(float(np.mean(present)))
    shown = truths.any(axis=0)
    value = float(np.mean(list(known.values())))
    return value, *_interval(replicates, value), float(truths[:, shown].mean()), known


def _score_number(
    rows: Sequence[Row], weights: DoubleArray, names: Sequence[str]
) -> tuple[float, float, float, float, dict[str, float]]:
    """Mean absolute error, its interval, and that of the median."""
    answers, truths = (np.array([row[key] for row in rows], np.float64)[:, 0] for key in ("answers", "truths"))
    errors = np.abs(answers - truths)
    totals = weights[1:].sum(axis=1)
    replicates = (weights[1:] @ errors)[totals > 0] / totals[totals > 0]
    value = mean_absolute_error(answers, truths)
    baseline = mean_absolute_error(np.full_like(truths, np.median(truths)), truths)
    return value, *_interval(replicates.tolist(), value), baseline, {}


def _interval(replicates: Sequence[float], value: float) -> tuple[float, float]:
    """The percentiles of the replicates that enclose 95 % of them."""
    ends = [50 * (1 - CONFIDENCE), 50 * (1 + CONFIDENCE)]
    low, high = np.percentile(replicates or [value], ends).tolist()
    return float(low), float(high)
