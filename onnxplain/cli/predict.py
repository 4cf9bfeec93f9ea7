"""`onnxplain predict`: what a model answers for each image."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from onnxplain.cli.options.gather import gather
from onnxplain.cli.options.heads import answer_options
from onnxplain.cli.options.images import ImageArguments, images_argument, megapixels_option
from onnxplain.cli.options.model import (
    ModelArguments,
    model_argument,
    precision_option,
    provider_option,
    sidecar_option,
    timeout_option,
)
from onnxplain.cli.options.preprocessing import preprocessing_options
from onnxplain.cli.output.answers import answer_lines, answer_tree, score_text
from onnxplain.cli.output.assumptions import warn_assumed
from onnxplain.cli.output.tables import box_text, print_json, print_table
from onnxplain.cli.output.terminal import say
from onnxplain.errors import ImageError
from onnxplain.explanations.image_arguments import read_image
from onnxplain.explanations.json_number import json_number

if TYPE_CHECKING:
    from onnxplain.runtime import Engine, Prediction
    from onnxplain.runtime.answers import Answer


@dataclass(frozen=True)
class Listing:
    """How many classes are listed, and from which probability on labels are."""

    top_k: int
    min_score: float


@click.command(short_help="Print what the model answers for each image.")
@model_argument
@images_argument
@click.option(
    "--top-k",
    type=click.IntRange(min=1),
    default=1,
    show_default=True,
    metavar="K",
    help="Number of classes or labels to list per head and image.",
)
@click.option(
    "--min-score",
    type=click.FloatRange(0, 1),
    default=0.5,
    show_default=True,
    metavar="T",
    help="Labels of a multi-label or binary model: list all whose probability is at least T.",
)
@click.option("--json", "as_json", is_flag=True, help="Print a JSON list, one object per image, and nothing else.")
@answer_options
@sidecar_option
@provider_option
@precision_option
@timeout_option
@megapixels_option
@preprocessing_options
@gather("model", ModelArguments)
@gather("images", ImageArguments)
@gather("listing", Listing)
def predict(model: ModelArguments, images: ImageArguments, listing: Listing, as_json: bool) -> None:
    """Print what MODEL answers for each IMAGE (a file, a folder or a pattern).

    A model answers with one or more heads. Of a head of classes, the best ones are listed with their softmax scores;
    of labels, those with a probability of at least --min-score; of values, the numbers with their unit; of a mask, the
    classes with the largest share of the pixels.

    For classes, the box comes from the box head if the model has one (source head). Otherwise it is the largest region
    of a heatmap: of the class activation map (source cam) or, if the head is not linear, of Grad-CAM (source grad-cam).
    A file without instrumented layers gives no box. Boxes are x1,y1,x2,y2 in pixels of the image.

    With --json, each image has the keys of its best class, null for a model without classes, and answers: for each head
    its name and kind, and top (classes, labels), values and unit, xyxy, vector, or shares; none of them rounded.

    An image that cannot be read gets an error line, and the exit status is 1.
    """
    engine = model.open()
    warn_assumed(engine.spec.input, say)
    found = [_predict_one(engine, path, images.max_megapixels) for path in images.paths()]
    if as_json:
        print_json([_tree(each, listing) for each in found])
    elif all(head.kind in ("classes", "box") for head in engine.spec.heads):
        _print_classes([each for each in found if each.prediction is not None], listing)
    else:
        _print_answers([each for each in found if each.answers], listing)
    if any(each.error for each in found):
        raise click.exceptions.Exit(1)


@dataclass(frozen=True, eq=False)
class Predicted:
    """What was found in one image: the answers of all heads, and the best class with its box; or an error."""

    path: Path
    answers: tuple[Answer, ...] = ()
    prediction: Prediction | None = None
    error: str = ""


def _predict_one(engine: Engine, path: Path, max_megapixels: float | None) -> Predicted:
    from onnxplain.explainers import localize

    try:
        image = read_image(engine, path, max_megapixels)
    except ImageError as error:
        say(f"onnxplain: {error}", err=True)
        return Predicted(path, error=str(error))
    if engine.spec.head.kind != "classes":
        return Predicted(path, engine.answers(image)[0])
    prediction = localize(engine, image)[0]
    return Predicted(path, _answers_of(engine, prediction) or engine.answers(image)[0], prediction)


def _answers_of(engine: Engine, prediction: Prediction) -> tuple[Answer, ...]:
    """The answers that a prediction holds already; empty where the model has other heads too."""
    from onnxplain.runtime.answers import BoxAnswer, Classes

    head, *others = engine.spec.heads
    if others and (len(others) > 1 or others[0].kind != "box" or prediction.box_xyxy is None):
        return ()
    boxes = [BoxAnswer(box, prediction.box_xyxy) for box in others if prediction.box_xyxy is not None]
    return Classes(head, prediction.scores), *boxes


def _tree(found: Predicted, listing: Listing) -> dict[str, Any]:
    if found.error:
        return {"image": str(found.path), "error": found.error}
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
        "answers": [answer_tree(answer, listing.top_k, listing.min_score) for answer in found.answers],
    }


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
            for label, text in answer_lines(answer, listing.top_k, listing.min_score):
                rows.append((image, head, label, text))
                image = head = ""
    if rows:
        print_table(("image", "head", "answer", "score"), rows, numbers=("score",))
