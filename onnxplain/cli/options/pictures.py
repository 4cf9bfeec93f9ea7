"""Options for the pictures of heatmaps, and for the level at which a heatmap is cut into boxes."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import click

from onnxplain.cli.options.gather import gather, stack
from onnxplain.explanations.explanation_folder import PictureStyle

if TYPE_CHECKING:
    from onnxplain.explainers.regions import Threshold


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


picture_options = stack(
    click.option(
        "--threshold",
        callback=_parse_threshold,
        metavar="T|stable",
        help="Share of a heatmap's maximum at which it is cut into boxes. stable: for each heatmap, the share at which "
        "the box changes least. Default: 0.15 for the CAM family, 0.5 for rise.",
    ),
    click.option(
        "--colormap",
        default="turbo",
        show_default=True,
        metavar="NAME",
        help="Colour map of OpenCV: turbo, viridis, jet, …",
    ),
    click.option(
        "--alpha",
        type=click.FloatRange(min=0, max=1),
        default=0.5,
        show_default=True,
        metavar="A",
        help="Opacity of the heatmap in the picture. 0 shows only the photo.",
    ),
    gather("style", PictureStyle),
)
"""Give a command these options; it receives them as one `PictureStyle` called `style`."""
