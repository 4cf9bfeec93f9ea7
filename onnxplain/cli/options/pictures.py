"""Options for the pictures of heatmaps, and for the level at which a heatmap is cut into boxes."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import click

from onnxplain.cli.options.gather import gather, stack
from onnxplain.explanations.explanation_folder import PictureStyle
from onnxplain.picture_defaults import COLOUR_BLIND_SAFE, DEFAULT_ALPHA, DEFAULT_COLORMAP

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
        default=DEFAULT_COLORMAP,
        show_default=True,
        metavar="NAME",
        help=f"Colour map of OpenCV. {', '.join(COLOUR_BLIND_SAFE)} can be read with every kind of colour vision; "
        "turbo and jet cannot.",
    ),
    click.option(
        "--alpha",
        type=click.FloatRange(min=0, max=1),
        default=DEFAULT_ALPHA,
        show_default=True,
        metavar="A",
        help="Opacity of the hottest part in the picture. Less heat is more transparent, no heat is invisible. 0 shows "
        "only the photo.",
    ),
    click.option(
        "--heat-scale",
        type=click.Choice(["own", "shared"]),
        default="own",
        show_default=True,
        help="Whether each map has a colour scale of its own, or the maps of one method for several targets share one.",
    ),
    gather("style", PictureStyle),
)
"""Give a command these options; it receives them as one `PictureStyle` called `style`."""
