"""`onnxplain evaluate`: how good boxes and heatmaps are on a data set."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from onnxplain.cli.main import INTERRUPTED
from onnxplain.cli.options.dataset import strict_option
from onnxplain.cli.options.detection import DetectionThresholds, detector_option, threshold_options
from onnxplain.cli.options.evaluation_data import DataArguments, data_options
from onnxplain.cli.options.evaluation_measures import (
    HeatmapFolders,
    MetricArguments,
    heatmap_options,
    metrics_option,
    refuse_for_detector,
)
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


@dataclass(frozen=True)
class ResultArguments:
    """Where the results go: a folder, a page if one is asked for, and standard output as a table or as JSON."""

    output: Path
    page: PageArguments
    as_json: bool


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
    "--heatmaps; for a detector, what `explain` does without -m.",
)
@metrics_option
@data_options
@heatmap_options
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
@threshold_options
@detector_option
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
@gather("results", ResultArguments)
def evaluate(
    source: ModelToExplain,
    data: DataArguments,
    asked: MethodArguments,
    measured: MetricArguments,
    folders: HeatmapFolders,
    thresholds: DetectionThresholds,
    results: ResultArguments,
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

    Of a MODEL that is a detector, mean average precision is measured (with the extra `metrics`), how many true boxes
    are found, and the heatmap of each box that is found.

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
    output, page = results.output, results.page
    answers_alone = not asked.methods and not folders.heatmaps
    done, warned = 0, False

    if page.report is not None:
        from onnxplain.report.page_file import require_report_extra

        require_report_extra()
    with progress_bar() as bar:
        opened, asked = _open(source, asked, bar, default=not folders.heatmaps)
        engine, layer = opened.engine, opened.layer
        thresholds.check(engine)
        boxes = engine.detector is not None
        if boxes:
            refuse_for_detector(engine.path, measured, folders, data)
        elif answers_alone and engine.spec.head.kind in ("labels", "values"):
            page.refuse(engine.spec.head.kind)
            measure_answers(
                engine, records, AnswerArguments(output, seed, data.column, data.strict, results.as_json), bar
            )
            return
        sanity = None
        if measured.sanity is not None:
            other = replace(source, model=replace(source.model, path=measured.sanity))
            sanity = _open(other, asked, bar, default=False)[0].engine

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

        from onnxplain.evaluation import evaluate as evaluate_classes
        from onnxplain.evaluation import evaluate_detections
        from onnxplain.report.evaluation_images import EvaluatedModel

        common: dict[str, Any] = {
            "options": asked.options_at(layer),
            "output": output,
            "seed": seed,
            "strict": data.strict,
            "progress": bar.within,
            "on_row": show,
        }
        try:
            if boxes:
                common |= thresholds.given
                evaluation = evaluate_detections(engine, records, asked.methods, measured.metrics, **common)
            else:
                evaluation = evaluate_classes(
                    engine,
                    records,
                    asked.methods,
                    measured.metrics,
                    target=measured.target,
                    train=train,
                    sanity=sanity,
                    heatmaps=folders.heatmaps,
                    save_heatmaps=folders.save_heatmaps,
                    **common,
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
        total = records.images if boxes else len(records.records)
        say(_resumed(output, total, total), err=True)
    if results.as_json:
        print_json(evaluation.to_json())
    else:
        print_evaluation(evaluation)
        say()
        say(f"Results per image: {output}")
        if page.report is not None:
            say(f"Report: {page.report}")


def _resumed(output: Path, done: int, total: int) -> str:
    return f"onnxplain: {output}: continued, {done} of {total} images were measured before"


def _open(
    source: ModelToExplain, asked: MethodArguments, bar: Bar, *, default: bool
) -> tuple[OpenedModel, MethodArguments]:
    """The model, and the methods. Without methods, nothing is instrumented.

    `default`: without methods, grad-cam, and for a detector the one that `explain` would choose. --seed stays only for
    a method that takes it: it is also the evaluation's own.
    """
    from onnxplain.explainers.method_options import divide_options
    from onnxplain.explainers.registry import find_method

    if asked.methods or default:
        opened = source.open(source.options_for(asked), asked, bar, falls_back=False)
    else:
        opened = OpenedModel(source.model.open(), (), asked.options["layer"])
    given = dict(asked.method_options)
    if not any("seed" in find_method(name).options for name in opened.methods):
        given.pop("seed", None)
    if opened.methods:
        divide_options(opened.methods, given)
    return opened, replace(asked, methods=opened.methods, method_options=given)
