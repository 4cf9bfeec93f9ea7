"""`onnxplain predict`: class and box of each image."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from onnxplain.cli.options.gather import gather
from onnxplain.cli.options.images import ImageArguments, images_argument, megapixels_option
from onnxplain.cli.options.model import (
    ModelArguments,
    labels_option,
    model_argument,
    precision_option,
    provider_option,
    sidecar_option,
)
from onnxplain.cli.options.preprocessing import preprocessing_options
from onnxplain.cli.output.assumptions import warn_assumed
from onnxplain.cli.output.tables import box_text, print_json, print_table
from onnxplain.cli.output.terminal import say
from onnxplain.errors import ImageError
from onnxplain.explanations.image_arguments import read_image
from onnxplain.explanations.json_number import json_number

if TYPE_CHECKING:
    from onnxplain.runtime import Engine, Prediction


@click.command(short_help="Print class and bounding box of each image.")
@model_argument
@images_argument
@click.option(
    "--top-k",
    type=click.IntRange(min=1),
    default=1,
    show_default=True,
    metavar="K",
    help="Number of classes to list per image.",
)
@click.option("--json", "as_json", is_flag=True, help="Print a JSON list, one object per image, and nothing else.")
@labels_option
@sidecar_option
@provider_option
@precision_option
@megapixels_option
@preprocessing_options
@gather("model", ModelArguments)
@gather("images", ImageArguments)
def predict(model: ModelArguments, images: ImageArguments, top_k: int, as_json: bool) -> None:
    """Print what MODEL sees in each IMAGE (a file, a folder or a pattern), and where.

    The box comes from the box head if the model has one (source head). Otherwise it is the largest region of a
    heatmap: of the class activation map (source cam) or, if the head is not linear, of Grad-CAM (source grad-cam). A
    file without instrumented layers gives no box. Boxes are x1,y1,x2,y2 in pixels of the image.

    An image that cannot be read gets an error line, and the exit status is 1.
    """
    engine = model.open()
    warn_assumed(engine.spec.input, say)
    entries = [_predict_one(engine, path, images.max_megapixels, top_k) for path in images.paths()]
    if as_json:
        print_json(entries)
    else:
        _print_rows([entry for entry in entries if "error" not in entry])
    if any("error" in entry for entry in entries):
        raise click.exceptions.Exit(1)


def _predict_one(engine: Engine, path: Path, max_megapixels: float | None, top_k: int) -> dict[str, Any]:
    from onnxplain.explainers import localize

    try:
        image = read_image(engine, path, max_megapixels)
    except ImageError as error:
        say(f"onnxplain: {error}", err=True)
        return {"image": str(path), "error": str(error)}
    return _entry(path, localize(engine, image)[0], top_k)


def _entry(path: Path, prediction: Prediction, top_k: int) -> dict[str, Any]:
    return {
        "image": str(path),
        "label": prediction.label,
        "class_id": prediction.class_id,
        "score": json_number(prediction.score),
        "box_xyxy": prediction.box_xyxy,
        "box_source": prediction.box_source,
        "top": [
            {"class_id": index, "label": label, "score": json_number(score)}
            for index, label, score in prediction.top(top_k)
        ],
    }


def _print_rows(entries: list[dict[str, Any]]) -> None:
    rows = []
    for entry in entries:
        for rank, best in enumerate(entry["top"]):
            where = (box_text(entry["box_xyxy"]), entry["box_source"] or "–") if rank == 0 else ("", "")
            rows.append((entry["image"] if rank == 0 else "", best["label"], _score_text(best["score"]), *where))
    if rows:
        print_table(("image", "label", "score", "box x1,y1,x2,y2", "source"), rows, numbers=("score",))


def _score_text(score: float | None) -> str:
    return "not finite" if score is None else f"{score:.3f}"
