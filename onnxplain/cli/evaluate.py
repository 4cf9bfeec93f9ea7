"""`onnxplain evaluate`: how good boxes and heatmaps are, over a data set."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import click

from onnxplain.cli.main import INTERRUPTED
from onnxplain.cli.options.dataset import strict_option
from onnxplain.cli.options.evaluation_data import DataArguments, data_options
from onnxplain.cli.options.gather import gather
from onnxplain.cli.options.method import MethodArguments, layers_option, method_options
from onnxplain.cli.options.model import ModelArguments, labels_option, model_argument, precision_option, provider_option
from onnxplain.cli.options.preprocessing import preprocessing_options
from onnxplain.cli.output.evaluation_table import print_evaluation
from onnxplain.cli.output.progress import Bar, progress_bar
from onnxplain.cli.output.tables import print_json

if TYPE_CHECKING:
    from onnxplain.evaluation.journal import Row
    from onnxplain.evaluation.measurement import TargetChoice
    from onnxplain.evaluation.metrics.table import MetricChoice


@dataclass(frozen=True)
class MetricArguments:
    """What is measured: which metrics, of which class's heatmap, against which file with shuffled weights."""

    metrics: MetricChoice
    target: TargetChoice
    sanity: str | None


@dataclass(frozen=True)
class HeatmapFolders:
    """Folders of heatmaps that were made elsewhere, by name, and the folder to write this evaluation's own to."""

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


@click.command(short_help="How good boxes and heatmaps are, over a data set.")
@model_argument
@click.argument("dataset", metavar="DATASET")
@click.option(
    "-m",
    "--method",
    "methods",
    multiple=True,
    metavar="METHOD",
    help="A method of `onnxplain methods`; may be given several times. Default: grad-cam, or none with --heatmaps.",
)
@click.option(
    "--metrics",
    type=click.Choice(["localization", "faithfulness", "all"]),
    default="localization",
    show_default=True,
    help="localization: where the object is, against true boxes. faithfulness: whether the model relies on it.",
)
@data_options
@click.option(
    "--target",
    type=click.Choice(["label", "predicted"]),
    default="label",
    show_default=True,
    help="The class to explain for localization. predicted: labels are not compared, for a model whose classes are not "
    "the data set's.",
)
@click.option(
    "--sanity",
    metavar="OTHER.onnx",
    help="MODEL with shuffled weights (`instrument --shuffle-weights`): heatmaps should not look like its own.",
)
@click.option(
    "--heatmaps",
    multiple=True,
    callback=_read_folders,
    metavar="NAME=DIR",
    help="Also score heatmaps made elsewhere, DIR/<image id>.npy as the WSOL benchmark has them; may be given several "
    "times.",
)
@click.option(
    "--save-heatmaps", type=click.Path(path_type=Path), metavar="DIR", help="Write DIR/METHOD/<image id>.npy, likewise."
)
@layers_option
@click.option(
    "-o",
    "--output",
    type=click.Path(path_type=Path),
    default=Path("evaluation"),
    metavar="DIR",
    help="Folder of results, made where it is missing. Default: ./evaluation.",
)
@strict_option
@click.option("--json", "as_json", is_flag=True, help="Print the results as JSON and nothing else.")
@method_options
@labels_option
@provider_option
@precision_option
@preprocessing_options
@gather("model", ModelArguments)
@gather("data", DataArguments)
@gather("asked", MethodArguments)
@gather("measured", MetricArguments)
@gather("folders", HeatmapFolders)
def evaluate(
    model: ModelArguments,
    data: DataArguments,
    asked: MethodArguments,
    measured: MetricArguments,
    folders: HeatmapFolders,
    output: Path,
    as_json: bool,
) -> None:
    """Measure how well MODEL names and finds the objects of DATASET, and how well its heatmaps do.

    DATASET is a folder or file of Pascal VOC, COCO, YOLO or WSOL annotations, a CSV of boxes, a folder of images per
    class, or digits: 1,000 generated images. Its labels are matched by name with the model's. --seed also draws
    splits, mosaics, --limit and intervals.

    DIR receives images.jsonl, a line per image as it comes, images.csv, summary.json and run.json. A run that was
    stopped, by Ctrl-C (exit status 130) or otherwise, goes on where it was with the same command, and ends with the
    same numbers. A folder of another evaluation is refused.

    Images and annotations that cannot be used are listed on standard error and counted; the exit status is 0 while
    anything was measured, and 2 otherwise.
    """
    seed = asked.method_options.get("seed", 0)
    engine = model.open()
    records, train = data.open(seed)
    for problem in dict.fromkeys((*records.problems, *(() if train is None else train.problems))):
        click.echo(f"left out: {problem}", err=True)
    methods = asked.methods or (() if folders.heatmaps else ("grad-cam",))
    done = 0

    with progress_bar() as bar:

        def show(count: int, total: int, row: Row) -> None:
            nonlocal done
            done = count
            bar.expect(total)
            bar.reach(count)
            _show(bar, row)

        from onnxplain.evaluation import evaluate as measure

        try:
            evaluation = measure(
                engine,
                records,
                methods,
                measured.metrics,
                options=asked.options,
                target=measured.target,
                train=train,
                sanity=None if measured.sanity is None else replace(model, path=measured.sanity).open(),
                heatmaps=folders.heatmaps,
                save_heatmaps=folders.save_heatmaps,
                output=output,
                seed=seed,
                strict=data.strict,
                progress=bar.within,
                on_row=show,
            )
        except KeyboardInterrupt:
            bar.echo(
                f"onnxplain: interrupted: {output} holds what there was by then, the same command goes on from there",
                err=True,
            )
            raise click.exceptions.Exit(INTERRUPTED) from None
    if as_json:
        print_json(evaluation.to_json())
    else:
        print_evaluation(evaluation)
        click.echo(f"\nPer image: {output}")


def _show(bar: Bar, row: Row) -> None:
    if "problem" in row:
        problem = row["problem"]
        where = problem["path"] if problem["line"] is None else f"{problem['path']}:{problem['line']}"
        bar.echo(f"left out: {where}: {problem['message']}", err=True)
    else:
        bar.say(row["image"])
