"""`onnxplain explain`: heatmaps, pictures and boxes for images."""

from __future__ import annotations

import functools
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import click

from onnxplain.cli.main import INTERRUPTED
from onnxplain.cli.options.beside import beside_options
from onnxplain.cli.options.detection import DetectionThresholds, detector_option, threshold_options
from onnxplain.cli.options.gather import gather
from onnxplain.cli.options.heads import answer_options
from onnxplain.cli.options.images import ImageArguments, images_argument, megapixels_option
from onnxplain.cli.options.method import MethodArguments, layers_option, method_options
from onnxplain.cli.options.model import (
    ModelArguments,
    model_argument,
    precision_option,
    provider_option,
    sidecar_option,
    timeout_option,
)
from onnxplain.cli.options.pictures import picture_options
from onnxplain.cli.options.plain_file import ModelToExplain, plain_file_options
from onnxplain.cli.options.preprocessing import preprocessing_options
from onnxplain.cli.output.assumptions import warn_assumed
from onnxplain.cli.output.progress import Bar, progress_bar
from onnxplain.cli.output.tables import box_text
from onnxplain.cli.output.terminal import say
from onnxplain.explanations.aims import check_aims
from onnxplain.explanations.explain_images import ExplainedImage, check_no_overwrite, explain_images
from onnxplain.explanations.explanation_folder import ExplanationFolder, PictureStyle, WrittenExplanation
from onnxplain.explanations.questions import Question, plan_questions
from onnxplain.explanations.run_record import record_run

if TYPE_CHECKING:
    from onnxplain.runtime.heads.aim import Aim


@dataclass(frozen=True)
class AskedTargets:
    """The targets as the user wrote them, what stands beside each, and which candidates of a detector they may be."""

    targets: tuple[str, ...] = ()
    beside: Aim | None = None
    thresholds: DetectionThresholds = field(default_factory=DetectionThresholds)


@click.command(short_help="Explain predictions: one heatmap picture per image and method.")
@model_argument
@images_argument
@click.option(
    "-m",
    "--method",
    "methods",
    multiple=True,
    metavar="METHOD",
    help="A method that `onnxplain methods` lists; may be given several times. Default: grad-cam, hires-cam for a "
    "detector, grad-x-attention for a file with a transformer's attention, or rise for a file that cannot be "
    "instrumented.",
)
@click.option(
    "--target",
    "targets",
    multiple=True,
    metavar="LABEL|INDEX|HEAD:LABEL|LABEL#2|…",
    help="What to explain: an entry of a head, by its label or its index over all heads, as HEAD:LABEL, HEAD:INDEX or "
    "HEAD, or a coordinate of the box head, such as box:0. not:LABEL: the evidence against it. LABEL@X,Y: the region "
    "of a mask at that pixel. A number that is also a label means the label. Of a detector: the best detection of a "
    "class, its second by score (dog#2), the third of all (#3), the smallest box around a pixel (120,85), a corner of "
    "a box (dog#1:x1), or all. May be given several times. Default: the predicted class, or the best detection.",
)
@beside_options
@layers_option
@click.option(
    "-o",
    "--output",
    type=click.Path(path_type=Path),
    default=Path("explanations"),
    metavar="DIR",
    help="Folder to write to. It is created if it is missing. Default: ./explanations.",
)
@picture_options
@click.option("--quiet", is_flag=True, help="Print no results and no progress bar. Errors are still printed.")
@method_options
@plain_file_options
@answer_options
@threshold_options
@detector_option
@sidecar_option
@provider_option
@precision_option
@timeout_option
@megapixels_option
@preprocessing_options
@gather("model", ModelArguments)
@gather("source", ModelToExplain)
@gather("images", ImageArguments)
@gather("asked", MethodArguments)
@gather("what", AskedTargets)
def explain(
    source: ModelToExplain,
    images: ImageArguments,
    asked: MethodArguments,
    what: AskedTargets,
    style: PictureStyle,
    output: Path,
    quiet: bool,
) -> None:
    """Show why MODEL predicts what it predicts for each IMAGE (a file, a folder or a pattern).

    MODEL is any ONNX classifier, localizer or detector. A file that is not instrumented is instrumented on the way if
    a method needs it (extra `export`). One line on standard error says so: layer, preprocessing and where it comes
    from, time. The copy is kept in the user's cache folder for the next call.

    For each image and method, the folder DIR (-o) receives two files: STEM.METHOD.png is the photo with heatmap and
    box, and STEM.METHOD.npy is the heatmap alone, float32 (H, W) in [0, 1], in the size of the image. STEM is the
    image's file name without its suffix; equal names get -2, -3 … With several targets, the files are
    STEM.METHOD.TARGET.png and .npy. If an image has several pictures, STEM.sheet.png shows them side by side. The box
    comes from the box head if the model has one; otherwise it is the largest region of the heatmap.

    Of a detector, detections are explained with hires-cam, layer-cam, rise or another method that hides parts, and the
    picture shows the detection's box. All targets share the masks of rise, or the pass for gradients. With --target
    all, the files are STEM.METHOD.LABEL-1.png … A target that is not in an image is an error of this image: the line
    lists what was found.

    DIR also receives explanations.jsonl, which each run replaces, with one line per heatmap, and run.json: which files,
    options, versions and seeds gave these results. `onnxplain verify DIR` explains again and says what differs. Both
    files are described in docs/provenance.md. STEM.METHOD.raw.npy is the map before it was enlarged.

    An image that cannot be read, or that a method cannot explain, gets an error line in explanations.jsonl and on
    standard error. The others are still explained (exit status 1). Wrong usage and a model that cannot be used are
    reported before the first image (exit status 2). Ctrl-C during rise writes the map so far (exit status 130).
    """
    failed = interrupted = warned = False
    with progress_bar(quiet=quiet) as bar:
        options = source.options_for(asked)
        opened = source.open(options, asked, bar, quiet=quiet)
        engine = opened.engine
        what.thresholds.check(engine)
        sources = images.paths()
        questions = plan_questions(engine, opened.methods, what.targets, asked.options_at(opened.layer), what.beside)
        check_no_overwrite(output, sources, questions)
        check_aims(engine, questions, sources, images.max_megapixels)
        detecting = what.thresholds.as_json(engine)
        run = record_run(opened, options, questions, style, output, images.max_megapixels, detecting)
        with ExplanationFolder(output, style, run) as folder:
            for explained in _until_interrupted(
                explain_images(
                    engine,
                    sources,
                    questions,
                    folder,
                    bar,
                    max_megapixels=images.max_megapixels,
                    on_written=None if quiet else functools.partial(_print_line, bar),
                    detect=functools.partial(what.thresholds.detect, engine),
                )
            ):
                if explained is None:
                    interrupted = True
                    break
                if not warned:
                    warn_assumed(engine.spec.input, bar.echo, engine.spec.detector)
                    warned = True
                if explained.error:
                    failed = True
                    bar.echo(f"onnxplain: {explained.error}", err=True)
                elif explained.sheet is not None and not quiet:
                    bar.echo(f"{explained.source}  all side by side  {explained.sheet}")
                for problem in explained.problems:
                    failed = True
                    bar.echo(f"onnxplain: {explained.source}: {problem}", err=True)
                interrupted = explained.interrupted
    if interrupted:
        say(f"onnxplain: interrupted: {output} contains the results so far", err=True)
        raise click.exceptions.Exit(INTERRUPTED)
    if failed:
        raise click.exceptions.Exit(1)


def _until_interrupted(explained: Iterator[ExplainedImage]) -> Iterator[ExplainedImage | None]:
    """The images; None where Ctrl-C ended the work on one of them without a result."""
    try:
        yield from explained
    except KeyboardInterrupt:
        yield None


def _print_line(bar: Bar, source: Path, question: Question, written: WrittenExplanation) -> None:
    explanation = written.explanation
    target = f" of {explanation.target_name}" if explanation.target_name != explanation.label else ""
    status = "" if explanation.status == "ok" else f"  {explanation.status.replace('_', ' ')}"
    if explanation.report is not None:
        status += f"  {explanation.report.summary()}"
        if explanation.report.caution:
            status += f"  {explanation.report.caution}: not a reliable map"
    bar.echo(
        f"{source}  {question.method}{target}  {explanation.label} {explanation.score_text(3)}  "
        f"box {box_text(written.box_xyxy)}{status}  {written.path}"
    )
