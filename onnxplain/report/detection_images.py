"""Images of a detector's evaluation for its report: those with most faults, their detections explained again."""

from __future__ import annotations

import heapq
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from onnxplain.errors import OnnxplainError
from onnxplain.evaluation.boxes.image_truths import ImageTruths, read_image_truths
from onnxplain.evaluation.plan import lookup
from onnxplain.explanations.explain_images import explain_images
from onnxplain.explanations.explanation_folder import ExplanationFolder, PictureStyle
from onnxplain.explanations.questions import plan_questions
from onnxplain.explanations.run_record import hash_of, record_run
from onnxplain.report.evaluation_images import EvaluatedModel, path_of, shown_value, together
from onnxplain.report.report_images import Remark
from onnxplain.runtime.detection.detection_target import ALL_DETECTIONS

if TYPE_CHECKING:
    from onnxplain.evaluation import Evaluation
    from onnxplain.evaluation.journal import Row
    from onnxplain.explanations.progress_display import ProgressDisplay
    from onnxplain.report.concern import Concern


def worst_rows(rows: Iterable[Row], count: int) -> list[Row]:
    """The rows of the images with most missed boxes and wrong detections, of equal ones those whose worst map has the
    least heat inside its box; in the order of the data set."""
    measured = (row for row in rows if "problem" not in row)
    return sorted(heapq.nsmallest(count, measured, key=_goodness), key=lambda row: int(row["index"]))


def _goodness(row: Row) -> tuple[int, float]:
    energies = [
        values["energy"]
        for box in row["boxes"]
        for values in box.get("methods", {}).values()
        if values.get("energy") is not None
    ]
    return -(_missed(row) + _wrong(row)), min(energies, default=1.0)


def _missed(row: Row) -> int:
    return sum(box["detection"]["recall"] is False for box in row["boxes"])


def _wrong(row: Row) -> int:
    return sum(box["detection"]["precision"] is False for box in row["boxes"])


def explain_detections(
    model: EvaluatedModel, evaluation: Evaluation, rows: Sequence[Row], folder: Path, progress: ProgressDisplay
) -> dict[str, Remark]:
    """Explain all detections of the images of these rows into `folder`; returns what was measured, by the SHA-256 of
    the image's file.

    An image without a detection, or one that cannot be read any more, gives its error. Raises KeyboardInterrupt if the
    user stopped a method early.
    """
    engine = model.opened.engine
    assert engine.spec.detector is not None
    questions = plan_questions(engine, model.methods, (ALL_DETECTIONS,), model.method_options)
    thresholds: dict[str, Any] = {name: evaluation.identity[name] for name in ("min_score", "iou")}
    detecting = {"layout": engine.spec.detector.layout_name, **thresholds}
    style = PictureStyle()
    run = record_run(model.opened, model.options, questions, style, folder, detecting=detecting)
    truths, _ = read_image_truths(engine, model.dataset)
    paths, remarks = [], dict[str, Remark]()
    for row in rows:
        of_image = truths[row["index"]]
        paths.append(path_of(of_image.record, folder.with_name("images") / f"{row['index']}"))
        try:
            sha256 = hash_of(paths[-1])
        except OnnxplainError:
            continue  # The page shows why it cannot be read.
        remark = _remark(of_image, row, evaluation)
        remarks[sha256] = remark if sha256 not in remarks else together(remarks[sha256], remark)
    with ExplanationFolder(folder, style, run) as written:
        explained = explain_images(
            engine, paths, questions, written, progress, detect=lambda image: engine.detect(image, **thresholds)[0]
        )
        if any(image.interrupted for image in explained):
            raise KeyboardInterrupt
    return remarks


def _remark(truths: ImageTruths, row: Row, evaluation: Evaluation) -> Remark:
    """What was measured of one image: how many boxes are found, and the numbers of each."""
    missed, wrong, boxes = _missed(row), _wrong(row), len(truths.boxes_xyxy)
    beside = any(values.get("pointing") is False for box in row["boxes"] for values in box.get("methods", {}).values())
    found: tuple[tuple[Concern, bool], ...] = (
        ("wrong answer", missed + wrong > 0),
        ("map misses the object", beside),
    )
    return Remark(
        (
            ("image", truths.name),
            ("true boxes", f"{boxes}, {boxes - missed} found"),
            ("wrong detections", f"{wrong}"),
            *(line for box in row["boxes"] for line in _lines(box, evaluation)),
        ),
        concerns=tuple(concern for concern, holds in found if holds),
        truth_xyxy=tuple((float(x1), float(y1), float(x2), float(y2)) for x1, y1, x2, y2 in truths.boxes_xyxy),
    )


def _lines(box: Mapping[str, Any], evaluation: Evaluation) -> Iterator[tuple[str, str]]:
    """One line per box, and one per method with its numbers; baselines do not look at the image and are left out."""
    if box["detection"]["recall"] is None:
        yield f"{box['predicted']}", f"wrong, {box['score']:.2f}"
        return
    if not box["detection"]["recall"]:
        yield f"{box['label']}", "missed"
        return
    yield f"{box['label']}", f"found, {box['score']:.2f}"
    texts: dict[str, list[str]] = {}
    for result in evaluation.results:
        value = (lookup(box, result.subject.path) or {}).get(result.metric.column)
        if value is not None and result.subject.path[0] == "methods":
            texts.setdefault(result.subject.path[1], []).append(
                f"{result.metric.title} {shown_value(value, result.metric)}"
            )
    for method, numbers in texts.items():
        yield f"{box['label']}: {method}", ", ".join(numbers)
