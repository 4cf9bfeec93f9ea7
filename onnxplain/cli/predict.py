"""`onnxplain predict`: class and box of each image."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from onnxplain.cli.options.detection import DetectionThresholds, detector_option, threshold_options
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
from onnxplain.cli.output.detections import detection_warnings, detections_tree, print_detections, unread_columns
from onnxplain.cli.output.progress import Bar, progress_bar
from onnxplain.cli.output.tables import box_text, print_json, print_table
from onnxplain.errors import ImageError
from onnxplain.explanations.image_arguments import read_image
from onnxplain.explanations.json_number import json_number
from onnxplain.explanations.prediction_pictures import PredictionPictures, detection_marks, prediction_marks

if TYPE_CHECKING:
    from onnxplain.explainers.render import Mark
    from onnxplain.runtime import Engine, Prediction
    from onnxplain.runtime.arrays import AnyArray


@click.command(short_help="Print class and bounding boxes of each image.")
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
@click.option(
    "-o",
    "--output",
    type=click.Path(path_type=Path),
    metavar="DIR",
    help="Also draw the boxes: one picture per image, STEM.boxes.png in this folder. It is created if it is missing.",
)
@threshold_options
@detector_option
@labels_option
@sidecar_option
@provider_option
@precision_option
@megapixels_option
@preprocessing_options
@gather("model", ModelArguments)
@gather("images", ImageArguments)
def predict(
    model: ModelArguments,
    images: ImageArguments,
    top_k: int,
    as_json: bool,
    output: Path | None,
    thresholds: DetectionThresholds,
) -> None:
    """Print what MODEL sees in each IMAGE (a file, a folder or a pattern), and where.

    The box comes from the box head if the model has one (source head). Otherwise it is the largest region of a
    heatmap: of the class activation map (source cam) or, if the head is not linear, of Grad-CAM (source grad-cam). A
    file without instrumented layers gives no box. Boxes are x1,y1,x2,y2 in pixels of the image.

    Of a detector, all detections are printed, best first: label, score and box. An image without one is no error. In
    JSON they are under `detections`: `xyxy`, `score`, `class_id`, `label`, and `candidate`, the number of the model's
    candidate. `best_score` is the score of the best candidate, also below --min-score.

    An image that cannot be read gets an error line, and the exit status is 1.
    """
    engine = model.open()
    thresholds.check(engine)
    warn_assumed(engine.spec.input, click.echo, engine.spec.detector)
    if engine.spec.detector is not None:
        if top_k > 1:
            raise click.UsageError("--top-k is for models with classes, this is a detector: leave it out")
        if text := unread_columns(engine.spec.detector):
            click.echo(f"onnxplain: note: {text}", err=True)
    paths = images.paths()
    pictures = None if output is None else PredictionPictures(output, paths)
    entries = []
    with progress_bar() as bar:
        bar.expect(len(paths))
        for path in paths:
            bar.say(path.name)
            try:
                pixels = read_image(engine, path, images.max_megapixels)
            except ImageError as error:
                bar.echo(f"onnxplain: {error}", err=True)
                entries.append({"image": str(path), "error": str(error)})
            else:
                entry, marks = _answer(engine, path, pixels, top_k, thresholds, bar)
                entries.append(entry)
                if pictures is not None:
                    pictures.write(path, pixels, marks)
            bar.step()
    answered = [entry for entry in entries if "error" not in entry]
    if as_json:
        print_json(entries)
    elif engine.spec.detector is None:
        _print_rows(answered)
    else:
        print_detections(answered)
    if len(answered) < len(entries):
        raise click.exceptions.Exit(1)


def _answer(
    engine: Engine, path: Path, pixels: AnyArray, top_k: int, thresholds: DetectionThresholds, bar: Bar
) -> tuple[dict[str, Any], list[Mark]]:
    """The JSON of an image, and what is drawn on it."""
    from onnxplain.explainers import localize

    detector = engine.spec.detector
    if detector is None:
        prediction = localize(engine, pixels)[0]
        return _entry(path, prediction, top_k), prediction_marks(prediction)
    found = thresholds.detect(engine, pixels)
    for text in detection_warnings(found, detector):
        bar.echo(f"onnxplain: warning: {path}: {text}", err=True)
    return {"image": str(path), **detections_tree(found)}, detection_marks(found)


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
