"""Annotation files as text, lines and numbers; errors name the file and the line."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path

from onnxplain.data.bounds import leaves_data_set
from onnxplain.data.problem import Problem, ProblemError
from onnxplain.files.special import refuse_special
from onnxplain.runtime.box import Corners

_START = 65_536
"""Number of bytes that are read to recognise a file."""


def read_bytes(path: Path) -> bytes:
    """The content of an annotation file. Raises ProblemError if it cannot be read or is empty."""
    if leaves_data_set(path):
        raise ProblemError(
            Problem(
                path,
                None,
                "found a link to a file outside of the data set, expected a file in it: allow it with "
                "allow_outside=True (--allow-outside) if it is yours",
            )
        )
    try:
        refuse_special(path)
        content = path.read_bytes()
    except OSError as error:
        raise ProblemError(Problem(path, None, f"cannot be read ({error.strerror}): check the path")) from error
    if not content.strip():
        raise ProblemError(Problem(path, None, "found an empty file, expected annotations"))
    return content


def read_text(path: Path) -> str:
    """The content as text. Raises ProblemError, with the line, for bytes that are not UTF-8."""
    return decode(path, read_bytes(path))


def read_start(path: Path) -> str | None:
    """The first 64 KiB of a file as text, to recognise its format; None if it cannot be read."""
    if leaves_data_set(path):
        return None
    try:
        refuse_special(path)
        with path.open("rb") as file:
            return file.read(_START).decode("utf-8-sig", "replace")
    except OSError:
        return None


def decode(path: Path, content: bytes) -> str:
    """Decode UTF-8, with or without a byte order mark. Raises ProblemError, with the line, for anything else."""
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        raise ProblemError(Problem(path, line, "found bytes that are not UTF-8, expected text: convert it")) from None


def numbered_lines(text: str) -> list[tuple[int, str]]:
    """The lines that are not blank, stripped, each with its number, counted from 1."""
    return [(number, line.strip()) for number, line in enumerate(text.split("\n"), 1) if line.strip()]


def parse_numbers(fields: Sequence[str]) -> tuple[float, ...]:
    """Finite numbers. Raises ValueError, with the text that was found, for anything else."""
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
    """Four finite numbers. Raises ValueError, with the text that was found, for anything else."""
    if len(fields) != 4:
        raise ValueError(f"found {len(fields)} numbers, expected 4 for a box")
    first, second, third, fourth = parse_numbers(fields)
    return first, second, third, fourth


def parse_size(width: str, height: str) -> tuple[int, int] | None:
    """Height and width in whole pixels; None if either is 0, which many tools write for an unknown size.

    Raises ValueError, with the text that was found, for anything else.
    """
    sides = parse_numbers([height, width])
    if any(side < 0 or side != int(side) for side in sides):
        raise ValueError(f"found width {width.strip()!r} and height {height.strip()!r}, expected whole pixels")
    return (int(sides[0]), int(sides[1])) if all(sides) else None
