"""Arguments of public calls: what the annotations say is checked, and everything else raises OnnxplainError."""

from __future__ import annotations

import functools
import inspect
import os
import sys
import types
import typing
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any, Literal, ParamSpec, TypeVar, Union

import numpy as np

from onnxplain.contract.expected import LARGEST_WHOLE, Expected, Flag, Listed, Number, Text, Whole, refuse
from onnxplain.errors import OnnxplainError

_P = ParamSpec("_P")
_R = TypeVar("_R")
_MOST = 10**7
_SIMPLE: Mapping[Any, Expected] = {
    bool: Flag(),
    int: Whole(-LARGEST_WHOLE),
    float: Number(),
    str: Text(_MOST),
}


@dataclass(frozen=True)
class Instance:
    """An object of a class."""

    of: type

    @property
    def words(self) -> str:
        """The name of the class."""
        name = self.of.__name__
        return f"{'an' if name[0].lower() in 'aeiou' or name == 'ndarray' else 'a'} {name}"

    def check(self, name: str, value: Any) -> None:
        """See `Expected`."""
        if not isinstance(value, self.of):
            refuse(name, value, self.words)


@dataclass(frozen=True)
class FilePath:
    """A path as text or as an object of pathlib, without zero bytes, which no file system allows."""

    words: str = "a path without zero bytes"

    def check(self, name: str, value: Any) -> None:
        """See `Expected`."""
        if not isinstance(value, str | os.PathLike) or "\0" in str(value) or value == "":
            refuse(name, str(value) if isinstance(value, os.PathLike) else value, self.words)


@dataclass(frozen=True)
class OneOf:
    """One of some values."""

    values: tuple[Any, ...]

    @property
    def words(self) -> str:
        """The values."""
        names = ", ".join(map(str, self.values))
        return names if len(self.values) == 1 else f"one of {names}"

    def check(self, name: str, value: Any) -> None:
        """See `Expected`."""
        if not any(type(value) is type(each) and value == each for each in self.values):
            refuse(name, value, self.words)


@dataclass(frozen=True)
class AnyOf:
    """What one of the rows takes."""

    rows: tuple[Expected, ...]

    @property
    def words(self) -> str:
        """All of them."""
        return " or ".join(row.words for row in self.rows)

    def check(self, name: str, value: Any) -> None:
        """See `Expected`."""
        failures: dict[type, OnnxplainError] = {}
        for row in self.rows:
            try:
                row.check(name, value)
            except OnnxplainError as error:
                failures[type(row)] = error
                continue
            return
        # Of a list, the entry that is wrong says more.
        if isinstance(value, list | tuple) and Listed in failures:
            raise failures[Listed]
        refuse(name, value, self.words)


def checked(function: Callable[_P, _R]) -> Callable[_P, _R]:
    """A decorator: the arguments are of the types that the annotations say, or OnnxplainError is raised.

    Annotations that say nothing about values, such as Any, Iterable or Callable, are left to the function.
    """
    signature = inspect.signature(function)
    rows: dict[str, Expected] = {}

    @functools.wraps(function)
    def call(*args: _P.args, **kwargs: _P.kwargs) -> _R:
        if not rows:
            # Here and not before: annotations may name what the module imports later.
            rows.update(_rows_of(function, function.__annotations__))
        try:
            given = signature.bind(*args, **kwargs).arguments
        except TypeError as error:
            raise OnnxplainError(f"{function.__qualname__}: found {error}, expected {signature}"[:500]) from error
        for name, value in given.items():
            if name in rows:
                rows[name].check(name, value)
        return function(*args, **kwargs)

    return call


def check_fields(owner: Any) -> None:
    """The same for the fields of a dataclass, for its ``__post_init__``."""
    kind: Any = type(owner)
    for name, row in _rows_of_class(kind).items():
        row.check(name, getattr(owner, name))


@functools.cache
def _rows_of_class(owner: Any) -> Mapping[str, Expected]:
    rows: dict[str, Expected] = {}
    for parent in reversed(owner.__mro__):
        rows |= _rows_of(sys.modules[parent.__module__], vars(parent).get("__annotations__", {}))
    names = {each.name for each in fields(owner)}
    return {name: row for name, row in rows.items() if name in names}


def _rows_of(owner: Any, annotations: Mapping[str, Any]) -> dict[str, Expected]:
    names = vars(owner) if isinstance(owner, types.ModuleType) else owner.__globals__
    rows = {}
    for name, hint in annotations.items():
        if name == "return":
            continue
        try:
            found = _row_of(eval(hint, names) if isinstance(hint, str) else hint)
        except NameError:
            # A name that only type checkers import.
            continue
        if found is not None:
            rows[name] = found
    return rows


def _row_of(hint: Any) -> Expected | None:
    """What a value of that annotation has to be; None where the annotation does not say."""
    if hint is None or hint is types.NoneType:
        return OneOf((None,))
    if hint in _SIMPLE:
        return _SIMPLE[hint]
    origin, inner = typing.get_origin(hint), typing.get_args(hint)
    if origin is Literal:
        return OneOf(inner)
    if origin in (Union, types.UnionType):
        rows = [_row_of(each) for each in inner]
        known = tuple(row for row in rows if row is not None)
        if len(known) < len(rows):
            return None
        is_path = any(isinstance(row, FilePath) for row in known)
        return AnyOf(tuple(row for row in known if not (is_path and isinstance(row, Text))))
    if origin is tuple and (not inner or inner[-1] is not Ellipsis):
        same = _row_of(inner[0]) if len(set(inner)) == 1 else None
        return None if same is None else Listed(same, len(inner), least=len(inner))
    if origin in (list, tuple, Sequence):
        entry = _row_of(inner[0])
        return None if entry is None else Listed(entry, _MOST)
    if origin is np.ndarray:
        return Instance(np.ndarray)
    if hint is os.PathLike or origin is os.PathLike or (isinstance(hint, type) and issubclass(hint, os.PathLike)):
        return FilePath()
    if origin is Mapping:
        return Instance(Mapping)
    if hint is Any:
        return None
    return Instance(hint) if isinstance(hint, type) and not getattr(hint, "_is_protocol", False) else None
