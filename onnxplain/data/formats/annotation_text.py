"""Annotation files as text, lines and numbers; each failure says where."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path

from onnxplain.data.problem import Problem, ProblemError
from onnxplain.runtime.box import Corners

_START = 65_536
"""Bytes that are read to recognise a file."""


def read_bytes(path: Path) -> bytes:
    """The content of an annotation file. Raises ProblemError where it cannot be read or is empty."""
    try:
        content = path.read_bytes()
    except OSError as error:
        raise ProblemError(Problem(path, None, f"cannot be read ({error.strerror}): check the path")) from error
    if not content.strip():
        raise ProblemError(Problem(path, None, "found an empty file, expected annotations"))
    return content


def read_text(path: Path) -> str:
    """The same as text. Raises ProblemError for bytes that are not UTF-8, at their line."""
    return decode(path, read_bytes(path))


def read_start(path: Path) -> str | None:
    """The first 64 KiB of a file as text, to see what it is; None where it cannot be read."""
    try:
        with path.open("rb") as file:
            return file.read(_START).decode("utf-8-sig", "replace")
    except OSError:
        return None


def decode(path: Path, content: bytes) -> str:
    """UTF-8, with or without a byte order mark. Raises ProblemError for anything else, at its line."""
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        raise ProblemError(Problem(path, line, "found bytes that are not UTF-8, expected text: convert it")) from None


def numbered_lines(text: str) -> list[tuple[int, str]]:
    """The lines that are not blank, stripped, each with its number from 1."""
    return [(number, line.strip()) for number, line in enumerate(text.split("\n"), 1) if line.strip()]


def parse_numbers(fields: Sequence[str]) -> tuple[float, ...]:
    """Finite numbers. Raises ValueError that says what was found instead."""
    numbers = []
    for field in fields:
        try:
            number = float(field)
        except ValueError:
            number = math.nan
        if not math.isfinite(number):
            raise ValueError(f"found {field.strip()!r}, expected a number")
        numbers.append(number)
    return tuple(numbers)


def parse_box(fields: Sequence[str]) -> Corners:
    """Four finite numbers. Raises ValueError that says what was found instead."""
    if len(fields) != 4:
        raise ValueError(f"found {len(fields)} numbers, expected the 4 of a box")
    first, second, third, fourth = parse_numbers(fields)
    return first, second, third, fourth


def parse_size(width: str, height: str) -> tuple[int, int] | None:
    """Height and width in whole pixels; None where either is 0, which many tools write for an unknown size.

    Raises ValueError that says what was found instead.
    """
    sides = parse_numbers([height, width])
    if any(side < 0 or side != int(side) for side in sides):
        raise ValueError(f"found width {width.strip()!r} and height {height.strip()!r}, expected whole pixels")
    return (int(sides[0]), int(sides[1])) if all(sides) else None
