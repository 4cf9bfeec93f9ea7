"""`onnxplain report`: one HTML page with the maps of many images, which opens from disk."""

from __future__ import annotations

import tempfile
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

import click
from click.core import ParameterSource

from onnxplain.cli.options.gather import gather
from onnxplain.cli.options.heads import answer_options
from onnxplain.cli.options.images import ImageArguments, megapixels_option
from onnxplain.cli.options.method import MethodArguments, layers_option, method_options
from onnxplain.cli.options.model import (
    ModelArguments,
    precision_option,
    provider_option,
    sidecar_option,
    timeout_option,
)
from onnxplain.cli.options.page import read_page
from onnxplain.cli.options.pictures import picture_options
from onnxplain.cli.options.plain_file import ModelToExplain, plain_file_options
from onnxplain.cli.options.preprocessing import preprocessing_options
from onnxplain.cli.output.explaining import explain_into
from onnxplain.cli.output.progress import Bar, progress_bar
from onnxplain.cli.output.terminal import say
from onnxplain.explanations.explanation_folder import PictureStyle
from onnxplain.explanations.verify_folder import read_run

if TYPE_CHECKING:
    from onnxplain.explanations.verify_folder import RunToVerify

# All that a report of folders can be told.
_OF_FOLDERS = {"path", "images", "output"}


@click.command(short_help="One HTML page with all maps, to look at and to send.")
@click.argument("path", metavar="DIR|MODEL.onnx")
@click.argument("images", nargs=-1, metavar="[DIR|IMAGE]...")
@click.option(
    "-o",
    "--output",
    type=click.Path(path_type=Path, dir_okay=False),
    callback=read_page,
    default=Path("report.html"),
    metavar="REPORT.html",
    help="The file to write. Default: ./report.html.",
)
@click.option(
    "-m",
    "--method",
    "methods",
    multiple=True,
    metavar="METHOD",
    help="For a model: a method that `onnxplain methods` lists; may be given several times. Default: grad-cam, or rise "
    "for a file that cannot be instrumented.",
)
@click.option(
    "--target",
    "targets",
    multiple=True,
    metavar="LABEL|INDEX|box:0…box:3",
    help="For a model: what to explain, as in `onnxplain explain`; may be given several times. Default: the predicted "
    "class.",
)
@layers_option
@picture_options
@method_options
@plain_file_options
@answer_options
@sidecar_option
@provider_option
@precision_option
@timeout_option
@megapixels_option
@preprocessing_options
@gather("model", ModelArguments)
@gather("source", ModelToExplain)
@gather("given", ImageArguments)
@gather("asked", MethodArguments)
def report(
    source: ModelToExplain,
    given: ImageArguments,
    asked: MethodArguments,
    targets: tuple[str, ...],
    style: PictureStyle,
    output: Path,
) -> None:
    """Write one HTML page with the photos, the model's answers and the maps.

    DIR is a folder that `onnxplain explain` wrote. The model is not needed. Several folders stand side by side, for
    example those of two models. With MODEL.onnx and IMAGEs, the images are explained first; all options of `onnxplain
    explain` apply then.

    The page opens from disk, loads nothing from a network, and can be sent as it is. With more than 50 images, the
    data of each image is in a file of its own, in a folder beside the page (REPORT_files); send both. The maps are
    drawn from their raw values: a slider moves the threshold, and the boxes follow. Images with something to check
    stand first: no heat, an uncertain map, a box that the map does not agree with, a low score, a photo that has
    changed.

    Exit status: 0; 1 if some image could not be read; 2 if a folder or the model cannot be used.
    """
    from onnxplain.report.folder_report import report_of
    from onnxplain.report.page_file import require_report_extra, write_report

    require_report_extra()
    failed = False
    with progress_bar() as bar, tempfile.TemporaryDirectory(prefix="onnxplain-report-") as scratch:
        if Path(source.model.path).is_dir():
            _refuse_options_of_models()
            runs = [read_run(Path(folder)) for folder in (source.model.path, *given.images)]
        else:
            run, failed = _explain(source, given, asked, targets, style, Path(scratch) / "run", bar)
            runs = [run]
        shown = report_of(runs)
        bar.expect(len(shown.images))
        bar.reach(0)
        written = write_report(shown, output, bar.step)
    beside = f", {len(written) - 1} files in {written[-1].parent}" if len(written) > 1 else ""
    images = "1 image" if len(shown.images) == 1 else f"{len(shown.images)} images"
    say(f"{output}: {images}{beside}")
    if failed:
        raise click.exceptions.Exit(1)


def _explain(
    source: ModelToExplain,
    given: ImageArguments,
    asked: MethodArguments,
    targets: Iterable[str],
    style: PictureStyle,
    folder: Path,
    bar: Bar,
) -> tuple[RunToVerify, bool]:
    from onnxplain.explanations.questions import plan_questions

    if not given.images:
        raise click.UsageError(f"found no IMAGE for the model {source.model.path}, expected at least one")
    options = source.options_for(asked)
    opened = source.open(options, asked, bar)
    questions = plan_questions(opened.engine, opened.methods, tuple(targets), asked.options_at(opened.layer))
    failed = explain_into(folder, opened, options, given.paths(), questions, bar, style, given.max_megapixels)
    return read_run(folder), failed


def _refuse_options_of_models() -> None:
    """A folder was explained already: options that say how to explain would change nothing."""
    context = click.get_current_context()
    stated = [
        parameter
        for parameter in context.command.params
        if parameter.name not in _OF_FOLDERS
        and context.get_parameter_source(str(parameter.name)) is ParameterSource.COMMANDLINE
    ]
    if stated:
        raise click.UsageError(
            f"found {stated[0].opts[-1]} for a folder, which is explained already, expected it with MODEL.onnx only"
        )
