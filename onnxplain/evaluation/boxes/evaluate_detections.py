"""Evaluation of a detector on a data set: its boxes, and the maps of those that are right; resumable, reproducible."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from onnxplain.contract.arguments import checked
from onnxplain.data.dataset import DataSet
from onnxplain.data.loading import load_pixels
from onnxplain.data.problem import ProblemError
from onnxplain.errors import OnnxplainError
from onnxplain.evaluation.boxes.average_precision import MeanAveragePrecisions, mean_average_precisions
from onnxplain.evaluation.boxes.box_metrics import BOX_METRICS, DATASET_METRICS
from onnxplain.evaluation.boxes.image_truths import ImageTruths, read_image_truths
from onnxplain.evaluation.boxes.measurement import BOX_GAUSSIAN, DETECTION, BoxMeasurement
from onnxplain.evaluation.evaluate import OnRow, build_all, problem_row, without_problems
from onnxplain.evaluation.evaluation import Evaluation, Result, sum_up
from onnxplain.evaluation.identity import identify_dataset, identify_model
from onnxplain.evaluation.image_table import write_image_table
from onnxplain.evaluation.journal import TABLE_FILE, Journal, Row
from onnxplain.evaluation.metrics.metric import Facts
from onnxplain.evaluation.metrics.table import MetricChoice, groups_of
from onnxplain.evaluation.plan import Plan, Subject, method_path
from onnxplain.evaluation.tally import Estimate
from onnxplain.explainers.method_options import divide_options
from onnxplain.explainers.progress import Progress
from onnxplain.extras import install_command, missing_modules
from onnxplain.runtime.detection.detections import DEFAULT_MAX_IOU, DEFAULT_MIN_SCORE
from onnxplain.runtime.detection.detector import check_share, no_detector_error
from onnxplain.runtime.engine import Engine
from onnxplain.version import __version__


@checked
def evaluate_detections(
    engine: Engine,
    dataset: DataSet,
    methods: Sequence[str] = ("rise",),
    metrics: MetricChoice = "localization",
    *,
    options: Mapping[str, Any] | None = None,
    min_score: float = DEFAULT_MIN_SCORE,
    iou: float = DEFAULT_MAX_IOU,
    output: str | Path | None = None,
    seed: int = 0,
    strict: bool = False,
    progress: Progress | None = None,
    on_row: OnRow | None = None,
) -> Evaluation:
    """Measure a detector's boxes and their maps on every image of a data set; docs/evaluation.md defines every number.

    The data set has a box for each object: COCO, Pascal VOC, YOLO. A true box that a detection of its class finds (IoU
    ≥ 0.5, score ≥ `min_score`) is explained with that detection, by each of `methods`, and by a Gaussian in the
    detected box, a baseline that does not look at the image. Detections of classes that the data set does not annotate
    do not count. `min_score`, `iou`: as for `Engine.detect`. Mean average precision needs the extra `metrics`; without
    it, it is null with the reason. The other parameters are those of `evaluate`.

    Raises UnsupportedError for a model that is no detector; OnnxplainError for labels that the model does not have, for
    objects without a box, for a method that does not explain detections, for a folder with another evaluation, if
    nothing could be measured, and with `strict` for the first image that cannot be used.
    """
    if engine.detector is None:
        raise no_detector_error(engine.path)
    check_share("min_score", min_score)
    check_share("iou", iou)
    chosen = divide_options(methods, options or {})
    explainers = build_all(engine, chosen, progress)
    truths, judged = read_image_truths(engine, dataset)
    plan = _plan(engine, list(chosen), metrics)
    identity: dict[str, Any] = {
        "onnxplain": __version__,
        "model": identify_model(engine),
        "dataset": identify_dataset(dataset),
        "methods": chosen,
        "metrics": metrics,
        "min_score": min_score,
        "iou": iou,
        "seed": seed,
    }
    # In the form in which it is read back from run.json.
    identity = json.loads(json.dumps(identity, default=repr))
    measurement = BoxMeasurement(engine, engine.detector, plan, explainers, judged, min_score, iou)

    def finish(rows: Iterable[Row]) -> Evaluation:
        kept = list(without_problems(rows) if strict else rows)
        found = sum_up(plan, _box_rows(kept), seed)
        images, skipped = len(kept) - found.skipped, found.skipped
        if not images:
            raise OnnxplainError(f"{dataset.name}: found no usable image ({skipped} left out), expected at least one")
        whole = _dataset_results(plan, [row for row in kept if "problem" not in row])
        return Evaluation(
            str(engine.source), dataset.name, images, skipped + dataset.skipped, (*whole, *found.results), identity
        )

    with ExitStack() as opened:
        journal = None if output is None else opened.enter_context(Journal(Path(output), identity))
        if journal is None:
            return finish(_measure_all(measurement, truths, 0, strict, on_row))
        for row in _measure_all(measurement, truths, journal.done, strict, on_row):
            journal.add(row)
        evaluation = finish(journal.rows())
        write_image_table(journal.folder / TABLE_FILE, plan, _box_rows(journal.rows()))
        journal.finish(evaluation.to_json())
    return evaluation


def _plan(engine: Engine, methods: Sequence[str], metrics: MetricChoice) -> Plan:
    """The subjects: the detections, the maps of each method, the baseline."""
    groups = groups_of(metrics)
    asked = [metric for metric in BOX_METRICS if groups & set(metric.groups)]
    facts = Facts(labels=True, classes=engine.spec.classes, box_head=False, explained=True)
    of_maps = tuple(metric for metric in asked if metric.kind == "heatmap")
    subjects = [
        Subject(DETECTION, "prediction", tuple(metric for metric in asked if metric.kind == "prediction"), facts),
        *(Subject(method_path(name), "heatmap", of_maps, facts) for name in methods),
        Subject(BOX_GAUSSIAN, "heatmap", of_maps, facts),
    ]
    return Plan(tuple(subjects))


def _measure_all(
    measurement: BoxMeasurement, truths: Sequence[ImageTruths], done: int, strict: bool, on_row: OnRow | None
) -> Iterator[Row]:
    """One row per image behind the first `done`; for an image that cannot be used, the row is its problem."""
    for index in range(done, len(truths)):
        try:
            row = measurement(truths[index], load_pixels(truths[index].record, measurement.engine.read))
        except ProblemError as error:
            if strict:
                raise
            row = problem_row(error)
        yield row
        if on_row is not None:
            on_row(index + 1, len(truths), row)


def _box_rows(rows: Iterable[Row]) -> Iterator[Row]:
    """A row per box from rows per image; the row of a problem stays."""
    for row in rows:
        if "problem" in row:
            yield row
        else:
            yield from ({"index": row.get("index"), "image": row["image"], **box} for box in row["boxes"])


def _dataset_results(plan: Plan, rows: Sequence[Row]) -> tuple[Result, ...]:
    """The numbers of the whole data set. They have no interval: supervision computes them once, from all images."""
    missing = missing_modules("metrics")
    reason = (
        f"{missing[0]} is not installed: run {install_command('metrics')}" if missing else "no image has a true box"
    )
    found = MeanAveragePrecisions(None, None, None) if missing else mean_average_precisions(rows)
    results = []
    for metric in DATASET_METRICS:
        value = getattr(found, metric.name)
        estimate = Estimate(value, None, None, 0 if value is None else len(rows), {})
        results.append(Result(plan[DETECTION], metric, estimate, reason if value is None else ""))
    return tuple(results)
