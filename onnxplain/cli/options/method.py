"""The methods of explanation that a command was asked for, and their options, under the names that they give them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import click

from onnxplain.cli.options.gather import gather_stated, stack

layers_option = click.option(
    "--layer",
    "layers",
    multiple=True,
    metavar="NAME|all",
    help="An instrumented layer, or a part of its name that no other shares; given several times, or all: the maps of "
    "these layers fused into one. Default: the last one.",
)


def _parse_fill(context: click.Context, option: click.Parameter, text: str | None) -> str | tuple[float, ...] | None:
    """A colour as three numbers; names as they are, for the method to know or refuse."""
    if text is None or "," not in text:
        return text
    try:
        return tuple(float(part) for part in text.split(","))
    except ValueError as error:
        raise click.BadParameter(f"found {text!r}, expected mean, blur or R,G,B from 0 to 255") from error


# An option reaches every method whose constructor has a parameter of its name; one not given, none.
_OPTIONS: dict[str, Callable[[Any], Any]] = {
    "masks": click.option(
        "--masks",
        type=click.IntRange(min=1),
        metavar="N",
        help="rise: at most N masked copies per image. Default: 800.",
    ),
    "estimator": click.option(
        "--estimator",
        metavar="NAME",
        help="rise: default; paper, exactly the paper's, which needs several times more masks for the same map; "
        "between them centred and sobol.",
    ),
    "tolerance": click.option(
        "--tolerance",
        type=click.FloatRange(min=0, min_open=True),
        metavar="T",
        help="rise: stop when the map's standard error is below T times its standard deviation. Default: never.",
    ),
    "budget_seconds": click.option(
        "--budget-seconds",
        type=click.FloatRange(min=0, min_open=True),
        metavar="S",
        help="rise: stop after S seconds per image. Default: never.",
    ),
    "seed": click.option(
        "--seed",
        type=click.IntRange(min=0),
        metavar="N",
        help="rise, smooth-grad-cam++, augmented-grad-cam: seed of masks, noise and copies. Default: 0.",
    ),
    "samples": click.option(
        "--samples", type=click.IntRange(min=1), metavar="N", help="smooth-grad-cam++: noisy copies. Default: 16."
    ),
    "noise": click.option(
        "--noise",
        type=click.FloatRange(min=0, min_open=True),
        metavar="S",
        help="smooth-grad-cam++: standard deviation of the noise, as a share of the input's range. Default: 0.15.",
    ),
    "references": click.option(
        "--references",
        type=click.IntRange(min=1),
        metavar="N",
        help="finer-cam: the classes nearest in score that the class is compared with. Default: 3.",
    ),
    "strength": click.option(
        "--strength",
        type=click.FloatRange(min=0),
        metavar="S",
        help="finer-cam: how much of what they share is taken away, 0 for none. Default: 0.6.",
    ),
    "copies": click.option(
        "--copies",
        type=click.IntRange(min=1),
        metavar="N",
        help="augmented-grad-cam: turned and moved copies of the image, itself the first. Default: 100.",
    ),
    "rotation": click.option(
        "--rotation",
        type=click.FloatRange(min=0),
        metavar="RADIANS",
        help="augmented-grad-cam: largest rotation of a copy, either way. Default: 0.5.",
    ),
    "translation": click.option(
        "--translation",
        type=click.FloatRange(min=0, max=1, max_open=True),
        metavar="SHARE",
        help="augmented-grad-cam: largest shift, as a share of the input's side. Default: 30/224.",
    ),
    "zoom": click.option(
        "--zoom",
        type=click.FloatRange(min=1),
        metavar="Z",
        help="augmented-grad-cam: copies also shrink and grow, from 1/Z to Z times. Default: 1.",
    ),
    "mirror": click.option(
        "--mirror", is_flag=True, default=None, help="augmented-grad-cam: flip half of the copies left to right."
    ),
    "mode": click.option(
        "--mode",
        type=click.Choice(["super-resolution", "mean", "max", "paper"]),
        help="augmented-grad-cam: how the copies' maps become one. Default: super-resolution.",
    ),
    "points": click.option(
        "--points",
        type=click.IntRange(min=1),
        metavar="N",
        help="augmented-grad-cam: N × N sample points per cell, 1 is fastest. Default: 4, more for "
        "cells of over 16 pixels.",
    ),
    "maps": click.option(
        "--maps",
        type=click.IntRange(min=1),
        metavar="N",
        help="score-cam: only the N feature maps that vary most. Default: all.",
    ),
    "gaussian": click.option(
        "--gaussian", is_flag=True, default=None, help="recipro-cam: a 3 x 3 Gaussian around each position."
    ),
    "batch_size": click.option(
        "--batch-size",
        type=click.IntRange(min=1),
        metavar="N",
        help="rise, score-cam, augmented-grad-cam: copies that the model sees at once. Default: 8; rise: the fastest, "
        "found by timing.",
    ),
    "fill": click.option(
        "--fill",
        callback=_parse_fill,
        metavar="mean|blur|R,G,B",
        help="rise: what hidden pixels show. Default: mean, the mean colour.",
    ),
    "explain_output": click.option(
        "--explain-output",
        metavar="score|box",
        help="rise: the class score, or also how well the predicted box keeps its place (files with a box head). "
        "Default: score.",
    ),
}

method_options = stack(*_OPTIONS.values(), gather_stated("method_options", _OPTIONS))
"""Give a command the methods' options; it receives those that were given as one dictionary called `method_options`."""


@dataclass(frozen=True)
class MethodArguments:
    """The methods that were asked for, the layers, and the methods' options that were given."""

    methods: tuple[str, ...]
    layers: tuple[str, ...]
    method_options: dict[str, Any]

    @property
    def options(self) -> dict[str, Any]:
        """All options by the names that the methods give them: one layer is a name, several are a tuple."""
        layer = self.layers[0] if len(self.layers) == 1 else self.layers or None
        return {**self.method_options, "layer": layer}
