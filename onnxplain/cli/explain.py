"""`onnxplain explain`: heatmaps, pictures and boxes for images."""

from __future__ import annotations

import functools
import math
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from onnxplain.cli.main import INTERRUPTED
from onnxplain.cli.options.method import method_options
from onnxplain.cli.options.model import (
    labels_option,
    layers_option,
    megapixels_option,
    open_engine,
    precision_option,
    provider_option,
)
from onnxplain.cli.options.preprocessing import StatedInput, preprocessing_options
from onnxplain.cli.output.progress import Bar, progress_bar
from onnxplain.cli.output.tables import box_text
from onnxplain.explanations.explain_images import check_no_overwrite, explain_images
from onnxplain.explanations.explanation_folder import ExplanationFolder, PictureStyle, WrittenExplanation
from onnxplain.explanations.image_arguments import expand_images
from onnxplain.explanations.questions import Question, plan_questions

if TYPE_CHECKING:
    from onnxplain.explainers.regions import Threshold
    from onnxplain.runtime.precision import Precision


def _parse_threshold(context: click.Context, option: click.Parameter, text: str | None) -> Threshold | None:
    if text is None:
        return None
    if text == "stable":
        return "stable"
    try:
        share = float(text)
    except ValueError:
        share = math.nan
    if not 0 < share <= 1:
        raise click.BadParameter(f"found {text}, expected a share of the maximum, above 0 and at most 1, or stable")
    return share


@click.command(short_help="Heatmaps that say why: a picture per image and method.")
@click.argument("model", metavar="MODEL.onnx")
@click.argument("images", nargs=-1, required=True, metavar="IMAGE...")
@click.option(
    "-m",
    "--method",
    "methods",
    multiple=True,
    default=("grad-cam",),
    metavar="METHOD",
    help="A method of `onnxplain methods`; may be given several times. Default: grad-cam.",
)
@click.option(
    "--target",
    "targets",
    multiple=True,
    metavar="LABEL|INDEX|box:0…box:3",
    help="What to explain: a class by its label (an exact match wins) or index, or a coordinate of the box head; "
    "may be given several times. Default: the class that the model predicts.",
)
@layers_option
@click.option(
    "-o",
    "--output",
    type=click.Path(path_type=Path),
    default=Path("explanations"),
    metavar="DIR",
    help="Folder to write to, made where it is missing. Default: ./explanations.",
)
@click.option(
    "--threshold",
    callback=_parse_threshold,
    metavar="T|stable",
    help="Share of a heatmap's maximum at which it is cut into boxes; stable: the share, chosen for each heatmap, at "
    "which the box changes least. Default: 0.15 for the CAM family, 0.5 for rise.",
)
@click.option(
    "--colormap", default="turbo", show_default=True, metavar="NAME", help="One of OpenCV's: turbo, viridis, jet, …"
)
@click.option(
    "--alpha",
    type=click.FloatRange(min=0, max=1),
    default=0.5,
    show_default=True,
    metavar="A",
    help="Share of the heat in the picture: 0 is the photo alone.",
)
@click.option("--quiet", is_flag=True, help="No lines and no progress bar; errors are still reported.")
@method_options
@labels_option
@provider_option
@precision_option
@megapixels_option
@preprocessing_options
def explain(
    model: str,
    images: tuple[str, ...],
    methods: tuple[str, ...],
    targets: tuple[str, ...],
    layers: tuple[str, ...],
    output: Path,
    threshold: Threshold | None,
    colormap: str,
    alpha: float,
    quiet: bool,
    method_options: dict[str, Any],
    labels_file: Path | None,
    providers: tuple[str, ...],
    precision: Precision,
    max_megapixels: float | None,
    stated: StatedInput,
) -> None:
    """Say why MODEL sees in each IMAGE (a file, a folder or a pattern) what it sees there.

    For each image and method DIR receives STEM.METHOD.png, the heatmap over the photo with its box, and
    STEM.METHOD.npy, the heatmap alone, float32 (H, W) in [0, 1], in the size of the image; with several targets
    STEM.METHOD.TARGET.png and .npy; where an image has several pictures also STEM.sheet.png, all side by side. Equal
    stems are told apart by -2, -3 … The box is the model's own where it has a box head, else the largest region of
    the heatmap.

    explanations.jsonl in DIR is replaced by each run and holds a line per heatmap: image, method, target, label,
    score, status (ok, no_positive_evidence, constant or non_finite), boxes (largest region first), level (the heat at
    which they are cut), evaluations (forward passes), seconds, layer, heatmap and overlay (files in DIR), and what the
    method reports of its own work.

    Ctrl-C while rise is sampling writes the map so far and ends with exit status 130. An image that cannot be read
    gets an error line there and on standard error; the rest goes on, and the exit status is 1. Wrong usage and an
    unusable model are found before the first image and end with exit status 2.
    """
    style = PictureStyle(colormap, alpha, threshold)
    engine = open_engine(model, stated, labels_file, providers, precision)
    sources = expand_images(images)
    failed = interrupted = False
    with progress_bar(quiet=quiet) as bar:
        layer = layers[0] if len(layers) == 1 else layers or None
        options = {**method_options, "layer": layer}
        questions = plan_questions(engine, methods, targets, options)
        check_no_overwrite(output, sources, questions)
        with ExplanationFolder(output, style) as folder:
            for explained in explain_images(
                engine,
                sources,
                questions,
                folder,
                bar,
                max_megapixels=max_megapixels,
                on_written=None if quiet else functools.partial(_print_line, bar),
            ):
                if explained.error:
                    failed = True
                    bar.echo(f"onnxplain: {explained.error}", err=True)
                elif explained.sheet is not None and not quiet:
                    bar.echo(f"{explained.source}  all side by side  {explained.sheet}")
                interrupted = explained.interrupted
    if interrupted:
        click.echo(f"onnxplain: interrupted: {output} holds what there was by then", err=True)
        raise click.exceptions.Exit(INTERRUPTED)
    if failed:
        raise click.exceptions.Exit(1)


def _print_line(bar: Bar, source: Path, question: Question, written: WrittenExplanation) -> None:
    explanation = written.explanation
    target = f" of {explanation.target_name}" if explanation.target_name != explanation.label else ""
    status = "" if explanation.status == "ok" else f"  {explanation.status.replace('_', ' ')}"
    if explanation.report is not None:
        status += f"  {explanation.report.summary()}"
    bar.echo(
        f"{source}  {question.method}{target}  {explanation.label} {explanation.score:.3f}  "
        f"box {box_text(written.box_xyxy)}{status}  {written.path}"
    )
