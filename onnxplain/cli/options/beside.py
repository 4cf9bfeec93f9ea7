"""Options for what stands beside a target: what it is compared with, a reference image, a region."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from onnxplain.cli.options.gather import gather, stack

if TYPE_CHECKING:
    from onnxplain.runtime.box import Corners
    from onnxplain.runtime.heads.aim import Aim


def _parse_region(context: click.Context, option: click.Parameter, text: str | None) -> Corners | None:
    if text is None:
        return None
    try:
        x1, y1, x2, y2 = (float(side) for side in text.split(","))
    except ValueError:
        raise click.BadParameter(f"found {text!r}, expected X1,Y1,X2,Y2 in pixels of the image") from None
    return x1, y1, x2, y2


def _make_aim(against: str | None = None, like: str | None = None, region: Corners | None = None) -> Aim | None:
    from onnxplain.runtime.heads.aim import Aim

    aim = Aim(None, against, like, region)
    return None if aim.is_bare else aim


beside_options = stack(
    click.option(
        "--against",
        metavar="LABEL|INDEX",
        help="Explain why the target rather than this entry of the same head: the difference of the two.",
    ),
    click.option(
        "--like",
        type=click.Path(),
        metavar="IMAGE",
        help="For an embedding: explain what makes each image like IMAGE, by the cosine of the two embeddings.",
    ),
    click.option(
        "--region",
        callback=_parse_region,
        metavar="X1,Y1,X2,Y2",
        help="For a class of a mask: explain this part of the mask only, in pixels of the image. Default: all of it.",
    ),
    gather("beside", _make_aim),
)
"""Give a command these options; it receives them as one `Aim` without a target, or None, called `beside`."""
