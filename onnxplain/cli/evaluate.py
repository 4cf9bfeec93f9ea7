"""`onnxplain evaluate`: how good boxes and heatmaps are on a data set."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import click

from onnxplain.cli.main import INTERRUPTED
from onnxplain.cli.options.dataset import strict_option
from onnxplain.cli.options.evaluation_data import DataArguments, data_options
from onnxplain.cli.options.gather import gather
from onnxplain.cli.options.heads import answer_options
from onnxplain.cli.options.method import MethodArguments, evaluation_method_options, layers_option
from onnxplain.cli.options.model import (
    ModelArguments,
    model_argument,
    precision_option,
    provider_option,
    sidecar_option,
    timeout_option,
)
from onnxplain.cli.options.plain_file import ModelToExplain, plain_file_options
from onnxplain.cli.options.preprocessing import preprocessing_options
from onnxplain.cli.output.assumptions import warn_assumed
from onnxplain.cli.output.evaluation_page import PageArguments, report_options, write_evaluation_page
from onnxplain.cli.output.evaluation_table import print_evaluation
from onnxplain.cli.output.measuring import AnswerArguments, measure_answers, show_row
from onnxplain.cli.output.progress import Bar, progress_bar
from onnxplain.cli.output.tables import print_json
from onnxplain.cli.output.terminal import say
from onnxplain.explanations.open_model import OpenedModel

if TYPE_CHECKING:
    from onnxplain.evaluation.journal import Row
    from onnxplain.evaluation.measurement import TargetChoice
    from onnxplain.evaluation.metrics.table import MetricChoice


@dataclass(frozen=True)
class MetricArguments:
    """What is measured: the metrics, the class to explain, and the file with shuffled weights to compare with."""

    metrics: MetricChoice
    target: TargetChoice
    sanity: str | None


@dataclass(frozen=True)
class HeatmapFolders:
    """Folders of heatmaps from other tools, by name, and the folder that receives the heatmaps of this evaluation."""

    heatmaps: dict[str, Path]
    save_heatmaps: Path | None


def _read_folders(_ctx: click.Context, _param: click.Parameter, values: tuple[str, ...]) -> dict[str, Path]:
    """``NAME=DIR`` → folders by name."""
    folders = {}
    for value in values:
        name, equals, folder = value.partition("=")
        if not (name and equals and folder) or name in folders:
            raise click.BadParameter(f"found {value!r}, expected NAME=DIR, each name once")
        folders[name] = Path(folder)
    return folders


@click.command(short_help="Measure how good boxes and heatmaps are on a data set.")
@model_argument
@click.argument("dataset", metavar="DATASET")
@click.option(
    "-m",
    "--method",
    "methods",
    multiple=True,
    metavar="METHOD",
    help="A method that `onnxplain methods` lists; may be given several times. Default: grad-cam, or none with "
    "--heatmaps.",
)
@click.option(
    "--metrics",
    type=click.Choice(["localization", "faithfulness", "all"]),
    default="localization",
    show_default=True,
    help="localization: whether boxes and heatmaps find the object, compared with true boxes. faithfulness: whether "
    "the model relies on the pixels that the heatmaps show.",
)
@data_options
@click.option(
    "--target",
    type=click.Choice(["label", "predicted"]),
    default="label",
    show_default=True,
    help="The class to explain for localization: the image's label, or the class that the model predicts. With "
    "predicted, labels are not compared: use it if the model's classes are not those of the data set.",
)
@click.option(
    "--sanity",
    metavar="OTHER.onnx",
    help="A file that `instrument --shuffle-weights` wrote from MODEL. Good heatmaps of the two files differ.",
)
@click.option(
    "--heatmaps",
    multiple=True,
    callback=_read_folders,
    metavar="NAME=DIR",
    help="Also score heatmaps from another tool, under this name. They are files DIR/<image id>.npy, as in the WSOL "
    "benchmark. May be given several times.",
)
@click.option(
    "--save-heatmaps",
    type=click.Path(path_type=Path),
    metavar="DIR",
    help="Write each heatmap to DIR/METHOD/<image id>.npy, in the format that --heatmaps reads.",
)
@layers_option
@click.option(
    "-o",
    "--output",
    type=click.Path(path_type=Path),
    default=Path("evaluation"),
    metavar="DIR",
    help="Folder for the results. It is created if it is missing. Default: ./evaluation.",
)
@strict_option
@click.option("--json", "as_json", is_flag=True, help="Print the results as JSON and nothing else.")
@report_options
@evaluation_method_options
@plain_file_options
@answer_options
@sidecar_option
@provider_option
@precision_option
@timeout_option
@preprocessing_options
@gather("model", ModelArguments)
@gather("source", ModelToExplain)
@gather("data", DataArguments)
@gather("asked", MethodArguments)
@gather("measured", MetricArguments)
@gather("folders", HeatmapFolders)
@gather("page", PageArguments)
def evaluate(
    source: ModelToExplain,
    data: DataArguments,
    asked: MethodArguments,
    measured: MetricArguments,
    folders: HeatmapFolders,
    output: Path,
    page: PageArguments,
    as_json: bool,
) -> None:
    """Measure how well MODEL classifies and locates the objects of DATASET, and how good its heatmaps are.

    DATASET is a folder or file of Pascal VOC, COCO, YOLO or WSOL annotations, a CSV file of boxes, a folder of masks
    (SegmentationClass or masks), a folder with one subfolder of images per class, or digits: 1,000 generated images.
    Labels are matched by name with the model's. A MODEL that is not instrumented is instrumented on the way.

    The folder DIR (-o) receives images.jsonl (one line per image, written as soon as the image is measured),
    images.csv, summary.json and run.json. A run can be stopped, for example by Ctrl-C (exit status 130). The same
    command then continues it, and ends with the same numbers. A folder with results of another evaluation is refused.

    Of a MODEL that answers with independent labels or with a number, the answers themselves are measured unless -m is
    given: mean average precision, or the mean absolute error against a column of DATASET (--column).

    --report also writes an HTML page: the numbers, curves over thresholds with their intervals, and the images with the
    lowest values, with true boxes, maps, and curves of insertion and deletion where they were measured. These images
    are explained a second time for it. A complete folder gets its page without being measured again.

    Images and annotations that cannot be used are listed on standard error and counted. The exit status is 0 if
    anything was measured, and 2 otherwise.
    """
    seed = asked.method_options.get("seed", 0)
    records, train = data.open(seed)
    for problem in dict.fromkeys((*records.problems, *(() if train is None else train.problems))):
        say(f"left out: {problem}", err=True)
    answers_alone = not asked.methods and not folders.heatmaps
    asked = _with_defaults(asked, grad_cam=not folders.heatmaps)
    done, warned = 0, False

    if page.report is not None:
        from onnxplain.report.page_file import require_report_extra

        require_report_extra()
    with progress_bar() as bar:
        opened = _open(source, asked, bar)
        engine, layer = opened.engine, opened.layer
        if answers_alone and engine.spec.head.kind in ("labels", "values"):
            page.refuse(engine.spec.head.kind)
            measure_answers(engine, records, AnswerArguments(output, seed, data.column, data.strict, as_json), bar)
            return
        sanity = None
        if measured.sanity is not None:
            other = replace(source, model=replace(source.model, path=measured.sanity))
            sanity = _open(other, asked, bar).engine

        def show(count: int, total: int, row: Row) -> None:
            nonlocal done, warned
            if not done and count > 1:
                bar.echo(_resumed(output, count - 1, total), err=True)
            if not warned:
                warn_assumed(engine.spec.input, bar.echo)
                warned = True
            done = count
            bar.expect(total)
            bar.reach(count)
            show_row(bar, row)

        from onnxplain.evaluation import evaluate as measure
        from onnxplain.report.evaluation_images import EvaluatedModel

        try:
            evaluation = measure(
                engine,
                records,
                asked.methods,
                measured.metrics,
                options=asked.options_at(layer),
                target=measured.target,
                train=train,
                sanity=sanity,
                heatmaps=folders.heatmaps,
                save_heatmaps=folders.save_heatmaps,
                output=output,
                seed=seed,
                strict=data.strict,
                progress=bar.within,
                on_row=show,
            )
            if page.report is not None:
                model = EvaluatedModel(
                    opened, source.options_for(asked), asked.methods, asked.options_at(layer), records
                )
                write_evaluation_page(page.report, page.report_images, model, evaluation, output, bar)
        except KeyboardInterrupt:
            bar.echo(
                f"onnxplain: interrupted: {output} contains the results so far: run the same command to continue",
                err=True,
            )
            raise click.exceptions.Exit(INTERRUPTED) from None
    if not done and len(records.records):
        say(_resumed(output, len(records.records), len(records.records)), err=True)
    if as_json:
        print_json(evaluation.to_json())
    else:
        print_evaluation(evaluation)
        say()
        say(f"Results per image: {output}")
        if page.report is not None:
            say(f"Report: {page.report}")


def _resumed(output: Path, done: int, total: int) -> str:
    return f"onnxplain: {output}: continued, {done} of {total} images were measured before"


def _with_defaults(asked: MethodArguments, *, grad_cam: bool) -> MethodArguments:
    """The methods with their default. --seed stays only for a method that takes it: it is also the evaluation's own."""
    from onnxplain.explainers.registry import find_method

    methods = asked.methods or (("grad-cam",) if grad_cam else ())
    given = dict(asked.method_options)
    if not any("seed" in find_method(name).options for name in methods):
        given.pop("seed", None)
    return replace(asked, methods=methods, method_options=given)


def _open(source: ModelToExplain, asked: MethodArguments, bar: Bar) -> OpenedModel:
    """The model, and the layer that the methods explain. Without methods, nothing is instrumented."""
    if not asked.methods:
        return OpenedModel(source.model.open(), (), asked.options["layer"])
    return source.open(source.options_for(asked), asked, bar)
