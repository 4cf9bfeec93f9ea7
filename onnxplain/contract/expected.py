"""What a value has to be, as a row: its type, its range, its length. For metadata of a file and for arguments alike.

``Whole(0, 255).check("pixel", 256)`` raises ``pixel: found 256, expected a whole number from 0 to 255``.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from numbers import Integral, Real
from typing import Any, Protocol

from onnxplain.errors import OnnxplainError

# Of an image that a model takes.
LARGEST_SIDE = 2**14
MOST_CHANNELS = 2**10
LONGEST_NAME = 4096
LARGEST_NUMBER = 1e30
LARGEST_WHOLE = 2**63 - 1
_LONGEST_SHOWN = 60
_MOST_SHOWN = 4


class Expected(Protocol):
    """What a value has to be."""

    @property
    def words(self) -> str:
        """What is expected, to stand after "expected"."""

    def check(self, name: str, value: Any) -> None:
        """Raise OnnxplainError, with `name`, what was found and what is expected, for any other value."""


@dataclass(frozen=True)
class Whole:
    """An integer, numpy's too, from `least` to `most`; no bool."""

    least: int = 0
    most: int = LARGEST_WHOLE

    @property
    def words(self) -> str:
        """The range."""
        end = f"of {self.least:,} or more" if self.most == LARGEST_WHOLE else f"from {self.least:,} to {self.most:,}"
        return f"a whole number {end}"

    def check(self, name: str, value: Any) -> None:
        """See `Expected`."""
        if not isinstance(value, Integral) or isinstance(value, bool) or not self.least <= int(value) <= self.most:
            refuse(name, value, self.words)


@dataclass(frozen=True)
class Number:
    """A finite real number, numpy's too; `positive`: above 0; `nonzero`: not 0."""

    positive: bool = False
    nonzero: bool = False
    most: float = LARGEST_NUMBER

    @property
    def words(self) -> str:
        """The range."""
        kind = "a positive finite number" if self.positive else "a finite number"
        return (
            kind
            + (" other than 0" if self.nonzero else "")
            + ("" if self.most == LARGEST_NUMBER else f", at most {self.most:g}")
        )

    def check(self, name: str, value: Any) -> None:
        """See `Expected`."""
        if not isinstance(value, Real) or isinstance(value, bool) or not self._is_in_range(value):
            refuse(name, value, self.words)

    def _is_in_range(self, value: Any) -> bool:
        inside = -self.most <= value <= self.most
        return bool(inside and (value > 0 or not self.positive) and (value != 0 or not self.nonzero))


@dataclass(frozen=True)
class Text:
    """Unicode text of `least` to `most` characters, without halves of surrogate pairs, which no file can hold."""

    most: int
    least: int = 0

    @property
    def words(self) -> str:
        """The length."""
        return f"text of {self.least} to {self.most:,} characters"

    def check(self, name: str, value: Any) -> None:
        """See `Expected`."""
        if not isinstance(value, str) or not self.least <= len(value) <= self.most:
            refuse(name, value, self.words)
        try:
            value.encode()
        except UnicodeEncodeError:
            refuse(name, value, "text that can be encoded as UTF-8")


@dataclass(frozen=True)
class Flag:
    """True or false."""

    words: str = "true or false"

    def check(self, name: str, value: Any) -> None:
        """See `Expected`."""
        if not isinstance(value, bool):
            refuse(name, value, self.words)


@dataclass(frozen=True)
class Maybe:
    """None, or the other."""

    other: Expected

    @property
    def words(self) -> str:
        """Both."""
        return f"nothing or {self.other.words}"

    def check(self, name: str, value: Any) -> None:
        """See `Expected`."""
        if value is not None:
            self.other.check(name, value)


@dataclass(frozen=True)
class Either:
    """Text, or a number."""

    text: Text
    number: Whole

    @property
    def words(self) -> str:
        """Both."""
        return f"{self.text.words} or {self.number.words}"

    def check(self, name: str, value: Any) -> None:
        """See `Expected`."""
        (self.text if isinstance(value, str) else self.number).check(name, value)


@dataclass(frozen=True)
class Listed:
    """A list, tuple or array of `least` to `most` entries, each of which is `of`."""

    of: Expected
    most: int
    least: int = 0

    @property
    def words(self) -> str:
        """The length, and what an entry is."""
        length = f"{self.most}" if self.least == self.most else f"{self.least} to {self.most:,}"
        return f"a list of {length}, each {self.of.words}"

    def check(self, name: str, value: Any) -> None:
        """See `Expected`."""
        # Arrays are no Sequence.
        is_list = hasattr(value, "__len__") and hasattr(value, "__getitem__")
        is_list = is_list and not isinstance(value, str | bytes | Mapping) and getattr(value, "ndim", 1) > 0
        if not is_list or not self.least <= len(value) <= self.most:
            refuse(name, value, self.words)
        for index, entry in enumerate(value):
            self.of.check(f"{name}[{index}]", entry)


@dataclass(frozen=True)
class Fields:
    """An object with the keys of `needed`, and any of `optional`. `closed`: no other key."""

    needed: Mapping[str, Expected]
    optional: Mapping[str, Expected] = field(default_factory=dict)
    closed: bool = True

    @property
    def words(self) -> str:
        """The keys."""
        return f"an object with {', '.join(self.needed)}" if self.needed else "an object"

    def check(self, name: str, value: Any) -> None:
        """See `Expected`."""
        if not isinstance(value, Mapping):
            refuse(name, value, self.words)
        missing = [key for key in self.needed if key not in value]
        if missing:
            raise OnnxplainError(f"{name}: found no {', '.join(missing)}, expected {self.words}")
        known = {**self.needed, **self.optional}
        for key, entry in value.items():
            if key in known:
                known[key].check(f"{name}.{key}", entry)
            elif self.closed:
                refuse(name, key, f"one of {', '.join(known)}")


def shown(value: object) -> str:
    """A value for a message: short, on one line, without control characters.

    Of objects only some keys, of lists only the length, and the entries where they are a few numbers.
    """
    if isinstance(value, str):
        start = repr(value[:_LONGEST_SHOWN])
        return start if len(value) <= _LONGEST_SHOWN else f"{start}… ({len(value):,} characters)"
    if isinstance(value, bytes):
        return f"{len(value):,} bytes"
    if isinstance(value, Mapping):
        return f"an object with {', '.join(shown(key) for key in list(value)[:5]) or 'no keys'}"
    if isinstance(value, list | tuple):
        numbers = all(isinstance(entry, Real) and not isinstance(entry, bool) for entry in value)
        short = f" ({', '.join(map(shown, value))})" if value and numbers and len(value) <= _MOST_SHOWN else ""
        return f"a list of {len(value):,}{short}"
    if isinstance(value, Integral) and not isinstance(value, bool):
        # Python refuses to print numbers of some thousand digits.
        return str(int(value)) if abs(int(value)) < 10**20 else "a number of more than 20 digits"
    if value is None or isinstance(value, bool) or (isinstance(value, Real) and not math.isnan(float(value))):
        return repr(value) if value is None or isinstance(value, bool) else f"{float(value):g}"
    return "nan" if isinstance(value, Real) else f"a value of type {type(value).__name__}"


def refuse(name: str, value: object, words: str) -> None:
    """Raise OnnxplainError: what was found, what is expected."""
    raise OnnxplainError(f"{name}: found {shown(value)}, expected {words}")
