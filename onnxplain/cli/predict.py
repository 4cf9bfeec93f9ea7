"""`onnxplain predict`: what a model answers for each image."""

from __future__ import annotations

from pathlib import Path

import click

from onnxplain.cli.options.detection import detector_option
from onnxplain.cli.options.gather import gather
from onnxplain.cli.options.heads import answer_options
from onnxplain.cli.options.images import ImageArguments, images_argument, megapixels_option
from onnxplain.cli.options.listing import Listing, listing_options
from onnxplain.cli.options.model import (
    ModelArguments,
    model_argument,
    precision_option,
    provider_option,
    sidecar_option,
    timeout_option,
)
from onnxplain.cli.options.preprocessing import preprocessing_options
from onnxplain.cli.output.assumptions import warn_assumed
from onnxplain.cli.output.detections import print_detections, unread_columns
from onnxplain.cli.output.predicted import Predicted, predict_image, predicted_marks, predicted_tree, print_predicted
from onnxplain.cli.output.progress import progress_bar
from onnxplain.cli.output.tables import print_json
from onnxplain.cli.output.terminal import say
from onnxplain.errors import ImageError
from onnxplain.explanations.image_arguments import read_image
from onnxplain.explanations.prediction_pictures import PredictionPictures


@click.command(short_help="Print what the model answers for each image.")
@model_argument
@images_argument
@listing_options
@click.option("--json", "as_json", is_flag=True, help="Print a JSON list, one object per image, and nothing else.")
@click.option(
    "-o",
    "--output",
    type=click.Path(path_type=Path),
    metavar="DIR",
    help="Also draw boxes and answers: one picture per image, STEM.boxes.png in this folder. It is created if it is "
    "missing.",
)
@answer_options
@detector_option
@sidecar_option
@provider_option
@precision_option
@timeout_option
@megapixels_option
@preprocessing_options
@gather("model", ModelArguments)
@gather("images", ImageArguments)
def predict(
    model: ModelArguments, images: ImageArguments, listing: Listing, as_json: bool, output: Path | None
) -> None:
    """Print what MODEL answers for each IMAGE (a file, a folder or a pattern).

    A model answers with one or more heads. Of a head of classes, the best ones are listed with their softmax scores;
    of labels, those with a probability of at least --min-score; of values, the numbers with their unit; of a mask, the
    classes with the largest share of the pixels.

    For classes, the box comes from the box head if the model has one (source head). Otherwise it is the largest region
    of a heatmap: of the class activation map (source cam) or, if the head is not linear, of Grad-CAM (source grad-cam).
    A file without instrumented layers gives no box. Boxes are x1,y1,x2,y2 in pixels of the image.

    With --json, each image has the keys of its best class, null for a model without classes, and answers: for each head
    its name and kind, and top (classes, labels), values and unit, xyxy, vector, or shares; none of them rounded.

    Of a detector, all detections are printed, best first: label, score and box. An image without one is no error. In
    JSON they are under `detections`: `xyxy`, `score`, `class_id`, `label`, and `candidate`, the number of the model's
    candidate. `best_score` is the score of the best candidate, also below --min-score.

    An image that cannot be read gets an error line, and the exit status is 1.
    """
    engine = model.open()
    listing.check(engine)
    detector = engine.spec.detector
    warn_assumed(engine.spec.input, say, detector)
    if detector is not None and (text := unread_columns(detector)):
        say(f"onnxplain: note: {text}", err=True)
    paths = images.paths()
    pictures = None if output is None else PredictionPictures(output, paths)
    found: list[Predicted] = []
    with progress_bar() as bar:
        bar.expect(len(paths))
        for path in paths:
            bar.say(path.name)
            try:
                pixels = read_image(engine, path, images.max_megapixels)
            except ImageError as error:
                bar.echo(f"onnxplain: {error}", err=True)
                found.append(Predicted(path, error=str(error)))
            else:
                found.append(predict_image(engine, path, pixels, listing, bar))
                if pictures is not None:
                    pictures.write(path, pixels, predicted_marks(found[-1], listing))
            bar.step()
    answered = [each for each in found if not each.error]
    if as_json:
        print_json([predicted_tree(each, listing) for each in found])
    elif detector is not None:
        print_detections([predicted_tree(each, listing) for each in answered])
    else:
        print_predicted(engine.spec, answered, listing)
    if len(answered) < len(found):
        raise click.exceptions.Exit(1)
