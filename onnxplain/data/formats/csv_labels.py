"""CSV of labels and numbers, without boxes: one row per image, or one per image and label.

Columns, in any order: file (or filename, image, path); then label (or class), one label, or labels (or tags), several
separated by ; or |; and numbers, one column for each thing that was measured. Other columns are ignored, also width
and height.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from onnxplain.data.formats.annotation_text import parse_numbers, read_start
from onnxplain.data.formats.annotations import AnnotatedImage, AnnotatedObject, Reading
from onnxplain.data.formats.csv_boxes import CORNERS, FILE_ALIASES, csv_rows, first_row
from onnxplain.data.problem import Place, Problem, ProblemError

_ALIASES = {**FILE_ALIASES, "tags": "labels"}
_EXPECTED = "expected a header: file, and label, labels (separated by ; or |) or columns of numbers"
_NO_NUMBERS = ("", "file", "label", "labels", "width", "height")
_LARGEST = 1e30
"""Far above any measurement, and small enough for float32."""
_SEVERAL = re.compile(r"[;|]")


@dataclass
class _Rows:
    """What the rows of one image say."""

    place: Place
    objects: list[AnnotatedObject] = field(default_factory=list)
    numbers: dict[str, float] = field(default_factory=dict)


def read_csv_labels(source: Path) -> Reading:
    """Read a CSV of labels and numbers; rows that are malformed become problems.

    A column is one of numbers if most of its cells that are not empty are numbers; other cells there become problems.
    Raises ProblemError for a file that is not CSV, or has neither labels nor numbers.
    """
    rows = list(csv_rows(source, _EXPECTED))
    header = _header(rows[0][1]) if rows else ()
    if "file" not in header:
        raise ProblemError(Problem(source, None, f"found the columns {', '.join(header)[:80] or 'none'}, {_EXPECTED}"))
    twice = [name for name in header if header.count(name) > 1]
    if twice:
        raise ProblemError(Problem(source, None, f"found two columns for {twice[0]!r}, {_EXPECTED}"))
    measured = _columns_of_numbers(header, [row for _, row in rows[1:]])
    if not measured and not {"label", "labels"} & set(header):
        raise ProblemError(Problem(source, None, f"found no column of labels or numbers, {_EXPECTED}"))
    problems: list[Problem] = []
    images: dict[str, _Rows] = {}
    for place, row in rows[1:]:
        try:
            if len(row) != len(header):
                raise ValueError(f"found {len(row)} columns, expected {len(header)}: {', '.join(header)}")
            fields = {name: cell.strip() for name, cell in zip(header, row, strict=True)}
            if not fields["file"]:
                raise ValueError("found an empty file, expected a name")
            _add(images.setdefault(fields["file"], _Rows(place)), fields, measured, place, problems)
        except ValueError as error:
            problems.append(place.problem(f"{error}"))
    return Reading(tuple(_image(source, name, found) for name, found in images.items()), None, tuple(problems))


def looks_like_labels(path: Path) -> bool:
    """Whether the first row of a CSV is a header with a file and either labels or a column of numbers, no corners."""
    text = read_start(path)
    if text is None:
        return True
    header = _header(first_row(text))
    if "file" not in header or set(CORNERS) & set(header):
        return False
    if {"label", "labels"} & set(header):
        return True
    rows = [line.split(",") for line in text.splitlines()[1:-1] or text.splitlines()[1:]]
    return bool(_columns_of_numbers(header, rows))


def _header(row: Sequence[str]) -> tuple[str, ...]:
    """The names of the columns; those of numbers keep upper and lower case."""
    names = [cell.strip() for cell in row]
    known = ("file", "label", "labels")
    lower = [_ALIASES.get(name.lower(), name.lower()) for name in names]
    return tuple(alias if alias in known else name for alias, name in zip(lower, names, strict=True))


def _columns_of_numbers(header: Sequence[str], rows: Sequence[Sequence[str]]) -> tuple[str, ...]:
    found = []
    for position, name in enumerate(header):
        cells = [row[position] for row in rows if len(row) == len(header) and row[position].strip()]
        if name.lower() not in _NO_NUMBERS and 2 * sum(map(_is_number, cells)) > len(cells):
            found.append(name)
    return tuple(found)


def _is_number(cell: str) -> bool:
    try:
        parse_numbers([cell])
    except ValueError:
        return False
    return True


def _add(
    found: _Rows, fields: Mapping[str, str], measured: Sequence[str], place: Place, problems: list[Problem]
) -> None:
    """Add what a row says of an image. A label that is there already, and a bad number, become problems."""
    stated = [fields.get("label", ""), *_SEVERAL.split(fields.get("labels", ""))]
    for label in filter(None, (label.strip() for label in stated)):
        found.objects.append(AnnotatedObject(label, None, place))
    for name in measured:
        if not fields[name]:
            continue
        try:
            (number,) = parse_numbers([fields[name]])
            if abs(number) > _LARGEST:
                raise ValueError(f"found {fields[name]!r}, expected a number up to {_LARGEST:g}")
            if found.numbers.setdefault(name, number) != number:
                raise ValueError(f"found {fields[name]!r}, expected {found.numbers[name]:g} as in the rows above")
        except ValueError as error:
            problems.append(place.problem(f"column {name}: {error}"))


def _image(source: Path, name: str, found: _Rows) -> AnnotatedImage:
    return AnnotatedImage(
        name,
        source.parent,
        found.place,
        tuple(found.objects),
        numbers=found.numbers,
        without_label=not found.objects,
    )
