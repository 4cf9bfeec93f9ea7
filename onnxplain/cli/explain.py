"""`onnxplain explain`: heatmaps, pictures and boxes for images."""

from __future__ import annotations

import functools
from pathlib import Path

import click

from onnxplain.cli.main import INTERRUPTED
from onnxplain.cli.options.gather import gather
from onnxplain.cli.options.images import ImageArguments, images_argument, megapixels_option
from onnxplain.cli.options.method import MethodArguments, layers_option, method_options
from onnxplain.cli.options.model import ModelArguments, labels_option, model_argument, precision_option, provider_option
from onnxplain.cli.options.pictures import picture_options
from onnxplain.cli.options.preprocessing import preprocessing_options
from onnxplain.cli.output.progress import Bar, progress_bar
from onnxplain.cli.output.tables import box_text
from onnxplain.explanations.explain_images import check_no_overwrite, explain_images
from onnxplain.explanations.explanation_folder import ExplanationFolder, PictureStyle, WrittenExplanation
from onnxplain.explanations.questions import Question, plan_questions


@click.command(short_help="Heatmaps that say why: a picture per image and method.")
@model_argument
@images_argument
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
@picture_options
@click.option("--quiet", is_flag=True, help="No lines and no progress bar; errors are still reported.")
@method_options
@labels_option
@provider_option
@precision_option
@megapixels_option
@preprocessing_options
@gather("model", ModelArguments)
@gather("images", ImageArguments)
@gather("asked", MethodArguments)
def explain(
    model: ModelArguments,
    images: ImageArguments,
    asked: MethodArguments,
    targets: tuple[str, ...],
    style: PictureStyle,
    output: Path,
    quiet: bool,
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
    engine = model.open()
    sources = images.paths()
    failed = interrupted = False
    with progress_bar(quiet=quiet) as bar:
        questions = plan_questions(engine, asked.methods, targets, asked.options)
        check_no_overwrite(output, sources, questions)
        with ExplanationFolder(output, style) as folder:
            for explained in explain_images(
                engine,
                sources,
                questions,
                folder,
                bar,
                max_megapixels=images.max_megapixels,
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
