"""Options that belong together, gathered into one value, so that a command receives a handful of them."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Iterable
from typing import Any, TypeVar, cast

Command = TypeVar("Command", bound=Callable[..., Any])


def gather(
    parameter: str, make: Callable[..., Any], names: Iterable[str] | None = None
) -> Callable[[Command], Command]:
    """A decorator: the command receives ``make(**values)`` as `parameter`, in place of the options called `names`.

    `names` are those of the parameters of `make` by default: the fields of a dataclass. One that the command has no
    option for keeps its default. What another `gather` makes can be gathered again, further down.
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
    """A decorator: the command receives a dictionary of those options called `names` that were given."""

    def keep_stated(**values: Any) -> dict[str, Any]:
        return {name: value for name, value in values.items() if value is not None}

    return gather(parameter, keep_stated, names)


def stack(*decorators: Callable[[Any], Any]) -> Callable[[Command], Command]:
    """Several decorators as one, in the order in which they would stand above the command."""

    def decorate(command: Command) -> Command:
        for decorator in reversed(decorators):
            command = decorator(command)
        return command

    return decorate
