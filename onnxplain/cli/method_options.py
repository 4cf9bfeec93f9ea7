"""The options of `explain` that belong to one method or a few, under the names that the methods give them."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any, TypeVar

import click

Command = TypeVar("Command", bound=Callable[..., Any])


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
        "--seed", type=click.IntRange(min=0), metavar="N", help="rise: seed of the random masks. Default: 0."
    ),
    "batch_size": click.option(
        "--batch-size",
        type=click.IntRange(min=1),
        metavar="N",
        help="rise: copies that the model sees at once. Default: the fastest, found by timing.",
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


def method_options(command: Command) -> Command:
    """Give a command the methods' options; it receives those that were given as one dict called `method_options`."""

    @functools.wraps(command)
    def gather(*args: Any, **given: Any) -> Any:
        options = {name: given.pop(name) for name in _OPTIONS}
        stated = {name: value for name, value in options.items() if value is not None}
        return command(*args, method_options=stated, **given)

    decorated: Any = gather
    for option in reversed(_OPTIONS.values()):
        decorated = option(decorated)
    result: Command = decorated
    return result
