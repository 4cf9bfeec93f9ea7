"""Options that belong together become one value, so that a command receives few parameters."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Iterable
from typing import Any, TypeVar, cast

Command = TypeVar("Command", bound=Callable[..., Any])


def gather(
    parameter: str, make: Callable[..., Any], names: Iterable[str] | None = None
) -> Callable[[Command], Command]:
    """A decorator: the command receives ``make(**values)`` as `parameter`, instead of the options called `names`.

    `names` are by default the parameters of `make`, for example the fields of a dataclass. A parameter for which the
    command has no option keeps its default. A `gather` can also take the value of another one that stands above it.
    """
    wanted = tuple(inspect.signature(make).parameters if names is None else names)

    def decorate(command: Command) -> Command:
        @functools.wraps(command)
        def gathered(*arguments: Any, **given: Any) -> Any:
            values = {name: given.pop(name) for name in wanted if name in given}
            return command(*arguments, **{parameter: make(**values)}, **given)

        return cast("Command", gathered)

    return decorate


def gather_stated(parameter: str, names: Iterable[str]) -> Callable[[Command], Command]:
    """A decorator: the command receives a dictionary with those of the options `names` that the user gave."""

    def keep_stated(**values: Any) -> dict[str, Any]:
        return {name: value for name, value in values.items() if value is not None}

    return gather(parameter, keep_stated, names)


def stack(*decorators: Callable[[Any], Any]) -> Callable[[Command], Command]:
    """Several decorators as one. Their order is the order in which they would stand above the command."""

    def decorate(command: Command) -> Command:
        for decorator in reversed(decorators):
            command = decorator(command)
        return command

    return decorate
