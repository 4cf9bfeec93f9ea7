"""`onnxplain evaluate`: how good boxes and heatmaps are, over a data set."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from onnxplain.cli.main import INTERRUPTED
from onnxplain.cli.options.evaluation_data import AskedData
from onnxplain.cli.options.method import method_options
from onnxplain.cli.options.model import labels_option, layers_option, open_engine, precision_option, provider_option
from onnxplain.cli.options.preprocessing import StatedInput, preprocessing_options
from onnxplain.cli.output.evaluation_table import print_evaluation
from onnxplain.cli.output.progress import Bar, progress_bar
from onnxplain.cli.output.tables import print_json

if TYPE_CHECKING:
    from onnxplain.evaluation.journal import Row
    from onnxplain.evaluation.measurement import TargetChoice
    from onnxplain.evaluation.metrics.table import MetricChoice
    from onnxplain.runtime.precision import Precision


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
@click.argument("model", metavar="MODEL.onnx")
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
@click.option(
    "--images",
    type=click.Path(path_type=Path),
    metavar="DIR",
    help="Where the images are. Default: beside the annotations, or in images beside them.",
)
@click.option(
    "--format", "format_name", metavar="NAME", help="Format of DATASET, such as voc, coco, yolo, csv. Default: found."
)
@click.option(
    "--split",
    metavar="PART|FILE",
    help="Images to evaluate on: train, validation, test, all, or a text file of their names. Default: all; of digits, "
    "test.",
)
@click.option(
    "--train-split",
    metavar="PART|FILE",
    help="The same for the images whose mean box is a baseline. Default: none.",
)
@click.option(
    "--mosaics",
    type=click.IntRange(min=1),
    metavar="N",
    help="Evaluate on N mosaics of four images instead, one class asked for. Default: on the images as they are.",
)
@click.option(
    "--limit", type=click.IntRange(min=1), metavar="N", help="Only N of the images, drawn at random. Default: all."
)
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
@click.option("--strict", is_flag=True, help="Stop at the first image or annotation that cannot be used.")
@click.option("--json", "as_json", is_flag=True, help="Print the results as JSON and nothing else.")
@method_options
@labels_option
@provider_option
@precision_option
@preprocessing_options
def evaluate(
    model: str,
    dataset: str,
    methods: tuple[str, ...],
    metrics: MetricChoice,
    images: Path | None,
    format_name: str | None,
    split: str | None,
    train_split: str | None,
    mosaics: int | None,
    limit: int | None,
    target: TargetChoice,
    sanity: str | None,
    heatmaps: dict[str, Path],
    save_heatmaps: Path | None,
    layers: tuple[str, ...],
    output: Path,
    strict: bool,
    as_json: bool,
    method_options: dict[str, Any],
    labels_file: Path | None,
    providers: tuple[str, ...],
    precision: Precision,
    stated: StatedInput,
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
    seed = method_options.get("seed", 0)
    engine = open_engine(model, stated, labels_file, providers, precision)
    asked = AskedData(dataset, images, format_name, split, train_split, mosaics, limit, seed, strict)
    records, train = asked.open()
    for problem in dict.fromkeys((*records.problems, *(() if train is None else train.problems))):
        click.echo(f"left out: {problem}", err=True)
    layer = layers[0] if len(layers) == 1 else layers or None
    if not methods and not heatmaps:
        methods = ("grad-cam",)
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
                metrics,
                options={**method_options, "layer": layer},
                target=target,
                train=train,
                sanity=None if sanity is None else open_engine(sanity, stated, labels_file, providers, precision),
                heatmaps=heatmaps,
                save_heatmaps=save_heatmaps,
                output=output,
                seed=seed,
                strict=strict,
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
