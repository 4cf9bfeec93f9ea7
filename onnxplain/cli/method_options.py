"""The options of `explain` that belong to one method or a few, under the names that the methods give them."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any, TypeVar

import click

Command = TypeVar("Command", bound=Callable[..., Any])

# An option reaches every method whose constructor has a parameter of its name; one not given, none.
_OPTIONS: dict[str, Callable[[Any], Any]] = {
    "masks": click.option(
        "--masks", type=click.IntRange(min=1), metavar="N", help="rise: masked copies per image. Default: 800."
    ),
    "seed": click.option(
        "--seed", type=click.IntRange(min=0), metavar="N", help="rise: seed of the random masks. Default: 0."
    ),
    "batch_size": click.option(
        "--batch-size",
        type=click.IntRange(min=1),
        metavar="N",
        help="rise: copies that the model sees at once. Default: 8.",
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
