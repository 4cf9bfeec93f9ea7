"""Images of an evaluation for its report: those with the lowest values, explained again, with what was measured."""

from __future__ import annotations

import heapq
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from PIL import Image

from onnxplain.data.loading import load_pixels
from onnxplain.data.problem import ProblemError
from onnxplain.evaluation.image_ids import ImageIds
from onnxplain.evaluation.plan import lookup
from onnxplain.explanations.explanation_folder import ExplanationFolder, PictureStyle, SourceImage
from onnxplain.explanations.questions import plan_questions
from onnxplain.explanations.run_record import hash_of, record_run
from onnxplain.explanations.unique import shortened
from onnxplain.report.plot import Plot, PlotLine
from onnxplain.report.report_images import Remark
from onnxplain.runtime.images.pixels import as_picture

if TYPE_CHECKING:
    from onnxplain.data import DataSet
    from onnxplain.data.record import Record
    from onnxplain.evaluation import Evaluation, Metric
    from onnxplain.evaluation.journal import Row
    from onnxplain.explanations.open_model import OpenedModel
    from onnxplain.explanations.open_options import OpenOptions
    from onnxplain.explanations.progress_display import ProgressDisplay
    from onnxplain.report.concern import Concern
    from onnxplain.runtime.arrays import AnyArray
    from onnxplain.runtime.results import Prediction

# What tells how good the maps of an image are: the first of these that was measured.
_VALUES = ("iou", "insertion")
_LONGEST_NAME = 100


@dataclass(frozen=True, eq=False)
class EvaluatedModel:
    """What was evaluated: the model, its methods with their options, and the data set."""

    opened: OpenedModel
    options: OpenOptions
    methods: Sequence[str]
    method_options: Mapping[str, Any]
    dataset: DataSet


def lowest_rows(rows: Iterable[Row], count: int) -> list[Row]:
    """The rows of the images with the lowest values, in the order of the data set; it holds no more than `count`."""
    measured = (row for row in rows if "problem" not in row)
    return sorted(heapq.nsmallest(count, measured, key=_value), key=lambda row: int(row["index"]))


def _value(row: Row) -> tuple[bool, float]:
    """How good the answer and the maps of an image are: wrong answers first, then the lowest value of any method."""
    right = lookup(row, ("classification", "top1")) is not False
    for name in _VALUES:
        found = [values[name] for values in row.get("methods", {}).values() if values.get(name) is not None]
        if found:
            return right, min(found)
    return right, row["score"] or 0.0


def explain_rows(
    model: EvaluatedModel,
    evaluation: Evaluation,
    rows: Sequence[Row],
    class_ids: Mapping[str, int] | None,
    folder: Path,
    progress: ProgressDisplay,
) -> dict[str, Remark]:
    """Explain the images of these rows into `folder`; returns what was measured, by the SHA-256 of the image's file.

    Each method explains the label's class and, if that is another one, the predicted class.
    `class_ids`: the model's class for each label; None: the predicted class alone. Images that are drawn when they are
    asked for are written beside the folder. An image that cannot be read any more gives its error.
    """
    engine = model.opened.engine
    questions = plan_questions(engine, model.methods, (), model.method_options)
    explainers = [(question, question.build(engine, progress.within)) for question in questions]
    style = PictureStyle()
    run = record_run(model.opened, model.options, questions, style, folder)
    ids, remarks = ImageIds(model.dataset.records), dict[str, Remark]()
    progress.expect(len(rows) * len(questions))
    with ExplanationFolder(folder, style, run) as written:
        for row in rows:
            record = model.dataset.records[row["index"]]
            progress.say(ids.of(record))
            path = path_of(record, folder.with_name("images") / f"{row['index']}")
            try:
                pixels = load_pixels(record, engine.read)
                sha256 = hash_of(path)
            except ProblemError as error:
                written.add_error(path, str(error))
                continue
            predicted = engine.predict(pixels)[0] if engine.spec.head.kind == "classes" else None
            targets = [] if class_ids is None else [class_ids[record.label]]
            targets += [] if predicted is None else [predicted.class_id]
            source = _source(path, f"{row['index']}", pixels, sha256, predicted)
            for question, explainer in explainers:
                started = time.perf_counter()
                explanations = explainer.for_targets(pixels, list(dict.fromkeys(targets)) or [None])
                seconds = (time.perf_counter() - started) / len(explanations)
                for explanation in explanations:
                    written.add(source, f"{question.suffix}.{explanation.target}", explanation, seconds)
                progress.step()
            remark = _remark(record, ids.of(record), row, evaluation)
            remarks[sha256] = remark if sha256 not in remarks else together(remarks[sha256], remark)
    return remarks


def path_of(record: Record, folder: Path) -> Path:
    """The record's file; of a record that has none, a file in `folder` with its pixels."""
    if isinstance(record.image, Path):
        return record.image
    folder.mkdir(parents=True)
    path = folder / f"{shortened(record.name.replace('/', '-'), _LONGEST_NAME)}.png"
    Image.fromarray(record.image).save(path)
    return path


def _source(path: Path, name: str, pixels: AnyArray, sha256: str, predicted: Prediction | None) -> SourceImage:
    return SourceImage(path, name, as_picture(pixels), sha256, None if predicted is None else predicted.box_xyxy)


def _remark(record: Record, image_id: str, row: Row, evaluation: Evaluation) -> Remark:
    """What was measured of one record."""
    wrong = lookup(row, ("classification", "top1")) is False
    missed = any(values.get("gt_known") is False for values in row.get("methods", {}).values())
    found: tuple[tuple[Concern, bool], ...] = (("wrong answer", wrong), ("map misses the object", missed))
    boxes = [(float(x1), float(y1), float(x2), float(y2)) for x1, y1, x2, y2 in record.boxes_xyxy]
    return Remark(
        (("image", image_id), ("label", record.label or "none"), *_numbers(row, evaluation)),
        concerns=tuple(concern for concern, holds in found if holds),
        truth_xyxy=tuple(boxes),
        plots=tuple(_curves(row, evaluation)),
    )


def _numbers(row: Row, evaluation: Evaluation) -> Iterator[tuple[str, str]]:
    """A row per subject with all its numbers; baselines do not look at the image and are left out."""
    found: dict[tuple[str, ...], list[str]] = {}
    for result in evaluation.results:
        value = (lookup(row, result.subject.path) or {}).get(result.metric.column)
        if value is not None and result.metric.statistic.length == 1 and result.subject.path[0] != "baselines":
            found.setdefault(result.subject.path, []).append(
                f"{result.metric.title} {shown_value(value, result.metric)}"
            )
    for path, texts in found.items():
        yield path[-1], ", ".join(texts)


def shown_value(value: float | bool, metric: Metric) -> str:
    """A measured value of one image or box as text."""
    if isinstance(value, bool):
        return "yes" if value else "no"
    return f"{100 * value:.1f} %" if metric.unit == "%" else f"{value:.2f}"


def _curves(row: Row, evaluation: Evaluation) -> Iterator[Plot]:
    """The curves of one image, a line per method."""
    metrics = {result.metric.name: result.metric for result in evaluation.results if result.metric.curve is not None}
    for metric in metrics.values():
        lines = [
            PlotLine(name, values[metric.curve_column])
            for name, values in row.get("methods", {}).items()
            if values.get(metric.curve_column) is not None
        ]
        if lines:
            yield Plot(metric.title, "changed pixels", "score of the predicted class", tuple(lines))


def together(first: Remark, second: Remark) -> Remark:
    """What is said of two records of one image, which shows two classes."""
    return Remark(
        (*first.rows, *second.rows),
        concerns=(*first.concerns, *second.concerns),
        truth_xyxy=(*first.truth_xyxy, *second.truth_xyxy),
        plots=first.plots,
    )
