"""Options that say what `evaluate` measures: metrics, the explained class, shuffled weights, heatmaps in folders."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import click

from onnxplain.cli.options.gather import stack
from onnxplain.errors import UnsupportedError

if TYPE_CHECKING:
    from onnxplain.cli.options.evaluation_data import DataArguments
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


def refuse_for_detector(source: Path, measured: MetricArguments, folders: HeatmapFolders, data: DataArguments) -> None:
    """Raise UnsupportedError for options that mean nothing for a detector."""
    given = {
        "--target": measured.target != "label",
        "--sanity": measured.sanity is not None,
        "--heatmaps": bool(folders.heatmaps),
        "--save-heatmaps": folders.save_heatmaps is not None,
        "--mosaics": data.mosaics is not None,
        "--train-split": data.train_split is not None,
        "--column": data.column is not None,
    }
    found = [name for name, is_given in given.items() if is_given]
    if found:
        raise UnsupportedError(
            f"{source}: found a detector and {', '.join(found)}, expected a detector without: leave it out"
        )


metrics_option = click.option(
    "--metrics",
    type=click.Choice(["localization", "faithfulness", "all"]),
    default="localization",
    show_default=True,
    help="localization: whether boxes and heatmaps find the object, compared with true boxes. faithfulness: whether "
    "the model relies on the pixels that the heatmaps show.",
)

heatmap_options = stack(
    click.option(
        "--target",
        type=click.Choice(["label", "predicted"]),
        default="label",
        show_default=True,
        help="The class to explain for localization: the image's label, or the class that the model predicts. With "
        "predicted, labels are not compared: use it if the model's classes are not those of the data set.",
    ),
    click.option(
        "--sanity",
        metavar="OTHER.onnx",
        help="A file that `instrument --shuffle-weights` wrote from MODEL. Good heatmaps of the two files differ.",
    ),
    click.option(
        "--heatmaps",
        multiple=True,
        callback=_read_folders,
        metavar="NAME=DIR",
        help="Also score heatmaps from another tool, under this name. They are files DIR/<image id>.npy, as in the "
        "WSOL benchmark. May be given several times.",
    ),
    click.option(
        "--save-heatmaps",
        type=click.Path(path_type=Path),
        metavar="DIR",
        help="Write each heatmap to DIR/METHOD/<image id>.npy, in the format that --heatmaps reads.",
    ),
)
"""The options of `MetricArguments` and `HeatmapFolders`, without --metrics."""
