"""Options that choose explanation methods, their layers, and the options of each method."""

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
    metavar="NAME|all|50%",
    help="Layer to explain: the name of an instrumented layer, or a part of it that occurs in no other name. Given "
    "several times, or all: the maps of these layers are combined into one. In a file that is not instrumented: the "
    "feature map to instrument, by its name or as `instrument --layer` takes it. Default: the last layer.",
)


def _parse_fill(context: click.Context, option: click.Parameter, text: str | None) -> str | tuple[float, ...] | None:
    """``R,G,B`` → three floats. Other texts stay as they are; the method checks them."""
    if text is None or "," not in text:
        return text
    try:
        return tuple(float(part) for part in text.split(","))
    except ValueError as error:
        raise click.BadParameter(
            f"found {text!r}, expected mean, blur, inpaint, R,G,B from 0 to 255, or an image file"
        ) from error


# A given option goes to each method whose constructor has a parameter of this name.
_OPTIONS: dict[str, Callable[[Any], Any]] = {
    "evaluations": click.option(
        "--evaluations",
        type=click.IntRange(min=1),
        metavar="N",
        help="rise, occlusion, shap, lime, sobol, hsic, aise: largest number of forward passes per image, the unmasked "
        "image included. Below what a method needs, it says how many. Default: what `onnxplain methods` lists.",
    ),
    "players": click.option(
        "--players",
        metavar="grid|superpixels|quadtree|FILE",
        help="occlusion, shap, lime, sobol, hsic: what is hidden as a whole. grid: equal cells. superpixels: regions "
        "of similar colour (extra methods; without it a grid, and this is said). quadtree: rectangles, small where "
        "there is detail. FILE: a label map in the size of the image, .npy or a PNG of one channel. "
        "Default: superpixels for shap and lime, grid for sobol and hsic, sliding windows for occlusion.",
    ),
    "cells": click.option(
        "--cells",
        type=click.IntRange(min=2),
        metavar="N",
        help="occlusion, shap, lime, sobol, hsic: how many of them. Default: 64; 50 for shap and lime, 121 for sobol.",
    ),
    "window": click.option(
        "--window",
        type=click.FloatRange(min=0, max=1, min_open=True),
        metavar="SHARE",
        help="occlusion: side of the sliding window, as a share of the image's shorter side. Default: 0.2.",
    ),
    "stride": click.option(
        "--stride",
        type=click.FloatRange(min=0, max=1, min_open=True),
        metavar="SHARE",
        help="occlusion: from one window to the next, as the same share. Default: half a window.",
    ),
    "sampling": click.option(
        "--sampling",
        type=click.Choice(["kernel", "leverage"]),
        help="shap: how sizes of coalitions are drawn. kernel: by their weight. leverage: all alike. Default: kernel.",
    ),
    "fit": click.option(
        "--fit",
        type=click.Choice(["ridge", "lasso"]),
        help="lime: the linear model. ridge: of all players. lasso: of the few that it chooses. Default: ridge.",
    ),
    "features": click.option(
        "--features",
        type=click.IntRange(min=1),
        metavar="N",
        help="lime: how many players --fit lasso chooses. Default: 10.",
    ),
    "masks": click.option(
        "--masks",
        type=click.IntRange(min=1),
        metavar="N",
        help="rise: largest number of masked copies per image. Default: 800.",
    ),
    "grid": click.option(
        "--grid",
        type=click.IntRange(min=1),
        metavar="N",
        help="rise: cells per side of the masks. More cells show smaller details and need more masks. Default: 8; for "
        "boxes of a detector, 8 to 16 by their size.",
    ),
    "estimator": click.option(
        "--estimator",
        metavar="NAME",
        help="rise: how the map is estimated. paper: exactly as in the paper. centred, sobol, default: the same map "
        "with less variance; each adds one technique to the one before. default needs several times fewer masks than "
        "paper. log-linear: the heatmap is closer to the true map still after a few hundred masks, with a small bias. "
        "Default: default.",
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
        help="rise, shap, lime, sobol, hsic, smooth-grad-cam++, augmented-grad-cam, smooth-grad, var-grad, grad-shap: "
        "random seed for masks, noise and copies. Default: 0.",
    ),
    "samples": click.option(
        "--samples",
        type=click.IntRange(min=1),
        metavar="N",
        help="smooth-grad-cam++, smooth-grad, var-grad: number of noisy copies; grad-shap: of points. Default: 50; 16 "
        "for smooth-grad-cam++.",
    ),
    "steps": click.option(
        "--steps",
        type=click.IntRange(min=1),
        metavar="N",
        help="integrated-gradients: points of the path from the baseline (--fill) to the image. Default: 50.",
    ),
    "noise": click.option(
        "--noise",
        type=click.FloatRange(min=0, min_open=True),
        metavar="S",
        help="smooth-grad-cam++, smooth-grad, var-grad: standard deviation of the noise, as a share of the input's "
        "range. Default: 0.15.",
    ),
    "references": click.option(
        "--references",
        type=click.IntRange(min=1),
        metavar="N",
        help="finer-cam: number of classes to compare with, those with the nearest scores. Default: 3.",
    ),
    "strength": click.option(
        "--strength",
        type=click.FloatRange(min=0),
        metavar="S",
        help="finer-cam: share of these classes' mean score that is subtracted; 0: nothing. Default: 0.6.",
    ),
    "kernel": click.option(
        "--kernel",
        type=click.Choice(["sigmoid", "rbf"]),
        help="kpca-cam: how two cells are compared. sigmoid: tanh(gamma x·y + 1). rbf: exp(−gamma |x − y|²). "
        "Default: sigmoid.",
    ),
    "gamma": click.option(
        "--gamma",
        type=click.FloatRange(min=0, min_open=True),
        metavar="G",
        help="kpca-cam: the kernel's factor. Default: 1 / channels.",
    ),
    "deviations": click.option(
        "--deviations",
        type=click.FloatRange(min=0),
        metavar="S",
        help="fem: how many standard deviations above the mean of its feature map a cell has to be. Default: 2.",
    ),
    "copies": click.option(
        "--copies",
        type=click.IntRange(min=1),
        metavar="N",
        help="augmented-grad-cam: number of rotated and shifted copies; the first is the image itself. Default: 100.",
    ),
    "rotation": click.option(
        "--rotation",
        type=click.FloatRange(min=0),
        metavar="RADIANS",
        help="augmented-grad-cam: largest rotation of a copy, in either direction. Default: 0.5.",
    ),
    "translation": click.option(
        "--translation",
        type=click.FloatRange(min=0, max=1, max_open=True),
        metavar="SHARE",
        help="augmented-grad-cam: largest shift of a copy, as a share of the input's side. Default: 30/224.",
    ),
    "zoom": click.option(
        "--zoom",
        type=click.FloatRange(min=1),
        metavar="Z",
        help="augmented-grad-cam: also scale the copies, by 1/Z to Z. Default: 1.",
    ),
    "mirror": click.option(
        "--mirror", is_flag=True, default=None, help="augmented-grad-cam: also mirror half of the copies."
    ),
    "mode": click.option(
        "--mode",
        type=click.Choice(["super-resolution", "mean", "max", "paper"]),
        help="augmented-grad-cam: how the maps of the copies are combined. Default: super-resolution.",
    ),
    "points": click.option(
        "--points",
        type=click.IntRange(min=1),
        metavar="N",
        help="augmented-grad-cam: N × N sample points per cell; 1 is the fastest. Default: 4, more for cells larger "
        "than 16 pixels.",
    ),
    "maps": click.option(
        "--maps",
        type=click.IntRange(min=1),
        metavar="N",
        help="score-cam: use only the N feature maps that vary most. Default: all.",
    ),
    "gaussian": click.option(
        "--gaussian",
        is_flag=True,
        default=None,
        help="recipro-cam: keep a 3 × 3 Gaussian around each position, not the position alone.",
    ),
    "batch_size": click.option(
        "--batch-size",
        type=click.IntRange(min=1),
        metavar="N",
        help="rise, occlusion, shap, lime, sobol, hsic, aise, score-cam, augmented-grad-cam: copies per run of the "
        "model. Default: 8 for score-cam and augmented-grad-cam; else the fastest number, found by timing.",
    ),
    "test_time": click.option(
        "--test-time",
        metavar="flips|scales|S,…",
        help="All methods: average the map over copies of the image, for example flips,scales. flips: the mirror "
        "image. scales: 0.8 and 1.25 times as large; or numbers from 0.5 to 2. --evaluations is divided among the "
        "copies. Default: the image alone.",
    ),
    "fill": click.option(
        "--fill",
        callback=_parse_fill,
        metavar="mean|blur|inpaint|R,G,B|IMAGE",
        help="rise, occlusion, shap, lime, sobol, hsic, aise: what hidden pixels show: the mean colour, the blurred "
        "image, what OpenCV inpaints from the pixels that show (occlusion, shap, lime and hsic only), a colour, or "
        "another image. integrated-gradients, grad-shap: the baseline. Default: mean.",
    ),
    "explain_output": click.option(
        "--explain-output",
        metavar="score|box",
        help="rise, occlusion, shap, lime, sobol, hsic, aise: what is explained. score: the class score. box: the "
        "class score and the place of the predicted box (only for files with a box head). Default: score. Of a "
        "detector, boxes are explained without this option.",
    ),
}

_EVALUATION_SEED = click.option(
    "--seed",
    type=click.IntRange(min=0),
    metavar="N",
    help="Random seed for splits, mosaics, --limit, generated digits and bootstrap intervals; for the methods that "
    "draw by chance, also for masks, noise and copies. Default: 0.",
)


def _stack_options(options: dict[str, Callable[[Any], Any]]) -> Callable[[Any], Any]:
    return stack(*options.values(), gather_stated("method_options", options))


method_options = _stack_options(_OPTIONS)
"""Give a command the methods' options; it receives the given ones as one dictionary called `method_options`."""
evaluation_method_options = _stack_options({**_OPTIONS, "seed": _EVALUATION_SEED})
"""The same for `evaluate`, which uses --seed also for the data set and for intervals."""


@dataclass(frozen=True)
class MethodArguments:
    """The chosen methods and layers, and the methods' options that were given."""

    methods: tuple[str, ...]
    layers: tuple[str, ...]
    method_options: dict[str, Any]

    @property
    def options(self) -> dict[str, Any]:
        """All options, under the names of the methods' parameters. One layer is a name, several layers are a tuple."""
        return self.options_at(self.layers[0] if len(self.layers) == 1 else self.layers or None)

    def options_at(self, layer: str | tuple[str, ...] | None) -> dict[str, Any]:
        """The same with another layer."""
        return {**self.method_options, "layer": layer}
