"""Evaluation of a model's classes, boxes and heatmaps on a data set: streamed, resumable, reproducible."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any, get_args

from onnxplain.contract.arguments import FilePath, checked
from onnxplain.data.dataset import DataSet
from onnxplain.data.loading import load_pixels
from onnxplain.data.problem import Problem, ProblemError
from onnxplain.errors import OnnxplainError, UnsupportedError
from onnxplain.evaluation.evaluation import Evaluation, sum_up
from onnxplain.evaluation.identity import identify_dataset, identify_model
from onnxplain.evaluation.image_ids import ImageIds, drawn_when_asked
from onnxplain.evaluation.image_table import write_image_table
from onnxplain.evaluation.journal import TABLE_FILE, Journal, Row
from onnxplain.evaluation.matching import find_folders, match_labels, require_comparable
from onnxplain.evaluation.measurement import Measurement, TargetChoice
from onnxplain.evaluation.metrics.baselines import MeanBox
from onnxplain.evaluation.metrics.metric import Facts
from onnxplain.evaluation.metrics.table import MetricChoice, choose_metrics
from onnxplain.evaluation.plan import make_plan
from onnxplain.explainers.explainer import Explainer
from onnxplain.explainers.method_options import divide_options
from onnxplain.explainers.progress import Progress
from onnxplain.explainers.registry import build, find_method
from onnxplain.files.lock import lock_folder
from onnxplain.files.shown_paths import relative_to
from onnxplain.runtime.engine import Engine
from onnxplain.version import __version__

OnRow = Callable[[int, int, Row], None]
"""Called with: number of records done, number of all records, row of the last record."""


@checked
def evaluate(
    engine: Engine,
    dataset: DataSet,
    methods: Sequence[str] = ("grad-cam",),
    metrics: MetricChoice = "localization",
    *,
    options: Mapping[str, Any] | None = None,
    target: TargetChoice = "label",
    train: DataSet | None = None,
    sanity: Engine | None = None,
    heatmaps: Mapping[str, str | os.PathLike[str]] | None = None,
    save_heatmaps: str | os.PathLike[str] | None = None,
    output: str | os.PathLike[str] | None = None,
    seed: int = 0,
    strict: bool = False,
    progress: Progress | None = None,
    on_row: OnRow | None = None,
) -> Evaluation:
    """Measure predictions, boxes and heatmaps on every record of a data set; docs/evaluation.md defines every number.

    `methods`: names of `METHODS`; each option in `options` goes to the methods that take it. `metrics`: see `METRICS`.
    Localization uses the heatmap of the record's label (GT-known), faithfulness that of the predicted class; if both
    are the same class, the heatmap is computed once. `target` "predicted" always explains the predicted class and
    compares no labels: for a model whose classes are not those of the data set. `train`: the data set whose mean box
    is a baseline. `sanity`: the same model with shuffled weights. `heatmaps`: folders of heatmaps made elsewhere, by
    name, with WSOL's ``<image id>.npy``; `save_heatmaps`: where to write such maps, ``<method>/<image id>.npy``.

    `output`: a folder for the results; each image is written when it is measured. A killed run continues where it
    stopped and ends with the same numbers. Without `output` nothing is written. `seed`: of the intervals. Memory does
    not grow with the data set. `progress` is passed to methods that take it; `on_row` is called after each record.

    Raises OnnxplainError for labels that the model does not have, for an option that no method takes, for a folder with
    another evaluation, if nothing could be measured, and with `strict` for the first image that cannot be used.
    """
    if engine.detector is not None:
        raise UnsupportedError(
            f"{engine.path}: found a detector, expected a model with classes: use evaluate_detections()"
        )
    _require_classes(engine, metrics)
    class_ids = match_labels(engine, dataset) if _checked(target) == "label" else None
    for folder in (heatmaps or {}).values():
        FilePath().check("heatmaps", folder)
    folders = find_folders(heatmaps or {}, methods)
    if sanity is not None:
        require_comparable(engine, sanity)
    chosen = divide_options(methods, options or {})
    facts = Facts(
        labels=class_ids is not None,
        classes=engine.spec.classes,
        box_head=engine.spec.box is not None,
        sanity=sanity is not None,
        one_class=engine.spec.head.kind == "classes",
    )
    asked = choose_metrics(metrics, sanity=sanity is not None, masks=_has_masks(dataset))
    plan = make_plan(asked, facts, list(chosen), list(folders), mean_box=train is not None)
    save = None if save_heatmaps is None else Path(save_heatmaps)
    identity: dict[str, Any] = {
        "onnxplain": __version__,
        "model": identify_model(engine),
        "sanity": None if sanity is None else identify_model(sanity),
        "dataset": identify_dataset(dataset),
        "train": None if train is None else identify_dataset(train),
        "methods": chosen,
        "heatmaps": {name: _from_results(folder, output) for name, folder in folders.items()},
        "save_heatmaps": None if save is None else _from_results(save, output),
        "metrics": metrics,
        "target": target,
        "seed": seed,
    }
    # In the form in which it is read back from run.json.
    identity = json.loads(json.dumps(identity, default=repr))
    measurement = Measurement(
        engine=engine,
        plan=plan,
        ids=ImageIds(dataset.records),
        explainers=build_all(engine, chosen, progress),
        doubted={} if sanity is None else build_all(sanity, chosen, progress),
        class_ids=class_ids,
        foreign=folders,
        mean_box=None if train is None else MeanBox.of(train.records),
        save=save,
    )

    def finish(rows: Iterator[Row]) -> Evaluation:
        found = sum_up(plan, without_problems(rows) if strict else rows, seed)
        if not found.images:
            raise OnnxplainError(
                f"{dataset.name}: found no usable image ({found.skipped} left out), expected at least one"
            )
        skipped = found.skipped + dataset.skipped
        return Evaluation(
            str(engine.source), dataset.name, found.images, skipped, found.results, identity, found.curves
        )

    with ExitStack() as opened:
        journal = None if output is None else opened.enter_context(Journal(Path(output), identity))
        if save is not None and (journal is None or save.resolve() != journal.folder.resolve()):
            opened.enter_context(lock_folder(save))
        if journal is None:
            return finish(_measure_all(measurement, dataset, range(len(dataset.records)), strict, on_row))
        for row in _measure_all(measurement, dataset, range(journal.done, len(dataset.records)), strict, on_row):
            journal.add(row)
        evaluation = finish(journal.rows())
        write_image_table(journal.folder / TABLE_FILE, plan, journal.rows())
        journal.finish(evaluation.to_json())
    return evaluation


def _has_masks(dataset: DataSet) -> bool:
    """Whether a record has a true mask. Generated records have none; they are not drawn for this."""
    return not drawn_when_asked(dataset.records) and any(record.mask is not None for record in dataset.records)


def _from_results(folder: Path, output: str | os.PathLike[str] | None) -> str:
    """A folder as run.json names it: from the folder of the results."""
    return str(folder.absolute()) if output is None else relative_to(folder, Path(output))


def _measure_all(
    measurement: Measurement, dataset: DataSet, indices: range, strict: bool, on_row: OnRow | None
) -> Iterator[Row]:
    """One row per record, in their order; for a record that cannot be used, the row is its problem."""
    for index in indices:
        try:
            record = dataset.records[index]
            row = measurement(record, load_pixels(record, measurement.engine.read))
        except ProblemError as error:
            if strict:
                raise
            row = problem_row(error)
        yield row
        if on_row is not None:
            on_row(index + 1, len(dataset.records), row)


def problem_row(error: ProblemError) -> Row:
    """The row of a record that cannot be used."""
    problem = error.problem
    return {"problem": {"path": str(problem.path), "line": problem.line, "message": problem.message}}


def without_problems(rows: Iterable[Row]) -> Iterator[Row]:
    """The same rows. Raises ProblemError for the first row that is a problem."""
    for row in rows:
        if "problem" in row:
            stated = row["problem"]
            raise ProblemError(Problem(Path(stated["path"]), stated["line"], stated["message"]))
        yield row


def build_all(
    engine: Engine, chosen: Mapping[str, Mapping[str, Any]], progress: Progress | None
) -> dict[str, Explainer]:
    """The explainers of the methods, by name, each with its options and the callback if it takes one."""
    explainers = {}
    for name, given in chosen.items():
        shown = {"progress": progress} if progress is not None and "progress" in find_method(name).options else {}
        explainers[name] = build(name, engine, **given, **shown)
    return explainers


def _require_classes(engine: Engine, metrics: str) -> None:
    """Raise UnsupportedError for a model whose answers are compared in another way, or not at all."""
    kind = engine.spec.head.kind
    if kind not in ("classes", "labels", "mask"):
        raise UnsupportedError(
            f"{engine.source}: found a default head of kind {kind}, expected classes, labels or a mask: name another "
            "head with --head NAME:KIND; numbers are measured by evaluate_answers (`onnxplain evaluate` without -m)"
        )
    if kind != "classes" and metrics != "localization":
        raise UnsupportedError(
            f"metrics: found {metrics} for a head of kind {kind}, expected localization: the other metrics compare "
            "the scores of one class"
        )


def _checked(target: str) -> str:
    if target not in get_args(TargetChoice):
        raise OnnxplainError(f"target: found {target!r}, expected {' or '.join(get_args(TargetChoice))}")
    return target
