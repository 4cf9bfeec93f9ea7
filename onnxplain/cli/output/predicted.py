"""What `predict` found in an image: for JSON, for a table, and for a picture."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from onnxplain.cli.options.listing import Listing
from onnxplain.cli.output.answers import answer_lines, score_text
from onnxplain.cli.output.detections import detection_warnings, detections_tree
from onnxplain.cli.output.progress import Bar
from onnxplain.cli.output.tables import box_text, print_table
from onnxplain.explanations.answer_tree import answer_tree
from onnxplain.explanations.json_number import json_number
from onnxplain.explanations.prediction_pictures import answer_marks, detection_marks, prediction_marks

if TYPE_CHECKING:
    from collections.abc import Sequence

    from onnxplain.contract import ModelSpec
    from onnxplain.explainers.drawing.marks import Mark
    from onnxplain.runtime import Detections, Engine, Prediction
    from onnxplain.runtime.answers import Answer
    from onnxplain.runtime.arrays import AnyArray


@dataclass(frozen=True, eq=False)
class Predicted:
    """What was found in one image: the answers of all heads, and the best class with its box; or detections; or an
    error.
    """

    path: Path
    answers: tuple[Answer, ...] = ()
    prediction: Prediction | None = None
    detections: Detections | None = None
    error: str = ""


def predict_image(engine: Engine, path: Path, pixels: AnyArray, listing: Listing, bar: Bar) -> Predicted:
    """What the model answers for the pixels of one image; warnings go to standard error."""
    from onnxplain.explainers import localize

    detector = engine.spec.detector
    if detector is not None:
        found = listing.detect(engine, pixels)
        for text in detection_warnings(found, detector):
            bar.echo(f"onnxplain: warning: {path}: {text}", err=True)
        return Predicted(path, detections=found)
    if engine.spec.head.kind != "classes":
        return Predicted(path, engine.answers(pixels)[0])
    prediction = localize(engine, pixels)[0]
    return Predicted(path, _answers_of(engine, prediction) or engine.answers(pixels)[0], prediction)


def _answers_of(engine: Engine, prediction: Prediction) -> tuple[Answer, ...]:
    """The answers that a prediction holds already; empty where the model has other heads too."""
    from onnxplain.runtime.answers import BoxAnswer, Classes

    head, *others = engine.spec.heads
    if others and (len(others) > 1 or others[0].kind != "box" or prediction.box_xyxy is None):
        return ()
    boxes = [BoxAnswer(box, prediction.box_xyxy) for box in others if prediction.box_xyxy is not None]
    return Classes(head, prediction.scores), *boxes


def predicted_tree(found: Predicted, listing: Listing) -> dict[str, Any]:
    """The JSON of an image."""
    if found.error:
        return {"image": str(found.path), "error": found.error}
    if found.detections is not None:
        return {"image": str(found.path), **detections_tree(found.detections)}
    best = found.prediction
    return {
        "image": str(found.path),
        "label": None if best is None else best.label,
        "class_id": None if best is None else best.class_id,
        "score": None if best is None else json_number(best.score),
        "box_xyxy": None if best is None else best.box_xyxy,
        "box_source": None if best is None else best.box_source,
        "top": [
            {"class_id": index, "label": label, "score": json_number(score)}
            for index, label, score in ([] if best is None else best.top(listing.top_k))
        ],
        "answers": [answer_tree(answer, listing.top_k, listing.label_score) for answer in found.answers],
    }


def predicted_marks(found: Predicted, listing: Listing) -> list[Mark]:
    """What is drawn on an image: its detections; its best class with the box; or the answers in words."""
    if found.detections is not None:
        return detection_marks(found.detections)
    if found.prediction is not None:
        return prediction_marks(found.prediction)
    words = [
        " ".join(line)
        for answer in found.answers
        if answer.head.kind != "box"
        for line in answer_lines(answer, listing.top_k, listing.label_score)
    ]
    return answer_marks(found.answers, ", ".join(words))


def print_predicted(spec: ModelSpec, found: Sequence[Predicted], listing: Listing) -> None:
    """A table: of classes with their boxes, or of the answers of all heads."""
    if all(head.kind in ("classes", "box") for head in spec.heads):
        _print_classes([each for each in found if each.prediction is not None], listing)
    else:
        _print_answers([each for each in found if each.answers], listing)


def _print_classes(found: list[Predicted], listing: Listing) -> None:
    rows = []
    for each in found:
        assert each.prediction is not None
        box = box_text(each.prediction.box_xyxy), each.prediction.box_source or "–"
        for rank, (_, label, score) in enumerate(each.prediction.top(listing.top_k)):
            image, *where = (str(each.path), *box) if rank == 0 else ("", "", "")
            rows.append((image, label, score_text(json_number(score)), *where))
    if rows:
        print_table(("image", "label", "score", "box x1,y1,x2,y2", "source"), rows, numbers=("score",))


def _print_answers(found: list[Predicted], listing: Listing) -> None:
    rows = []
    for each in found:
        image = str(each.path)
        for answer in each.answers:
            head = answer.head.name
            for label, text in answer_lines(answer, listing.top_k, listing.label_score):
                rows.append((image, head, label, text))
                image = head = ""
    if rows:
        print_table(("image", "head", "answer", "score"), rows, numbers=("score",))
