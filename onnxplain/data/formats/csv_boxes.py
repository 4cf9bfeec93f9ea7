"""CSV of boxes: one row per object, corners in continuous pixels.

Columns with a header, in any order: file (or filename, image, path), label (or class), xmin, ymin, xmax, ymax, and
optionally width, height of the image; others are ignored. Without a header: file, label, [width, height,]
xmin, ymin, xmax, ymax.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from onnxplain.data.formats.annotation_text import parse_box, parse_numbers, parse_size, read_start, read_text
from onnxplain.data.formats.annotations import AnnotatedImage, AnnotatedObject, Reading
from onnxplain.data.problem import Place, Problem, ProblemError

CORNERS = ("xmin", "ymin", "xmax", "ymax")
_REQUIRED = ("file", "label", *CORNERS)
FILE_ALIASES = {"filename": "file", "image": "file", "path": "file", "class": "label"}
_WITHOUT_HEADER = {6: _REQUIRED, 8: ("file", "label", "width", "height", *CORNERS)}
_EXPECTED = f"expected columns {', '.join(_REQUIRED)}, optionally width, height, separated by commas"


def read_csv(source: Path) -> Reading:
    """Read a CSV of boxes; rows that are malformed become problems.

    Raises ProblemError for a file that is not CSV or has other columns.
    """
    rows = list(csv_rows(source, _EXPECTED))
    if not rows:
        raise ProblemError(Problem(source, None, f"found only empty rows, {_EXPECTED}"))
    columns, skip = _columns(source, rows[0])
    problems: list[Problem] = []
    objects: dict[str, list[AnnotatedObject]] = {}
    sizes: dict[str, tuple[int, int] | None] = {}
    for place, row in rows[skip:]:
        try:
            if len(row) != len(columns):
                raise ValueError(f"found {len(row)} columns, expected {len(columns)}: {', '.join(columns)}")
            fields = dict(zip(columns, row, strict=True))
            name, size_hw = fields["file"].strip(), _read_size(fields)
            found = _read_object(fields, place)
            if sizes.setdefault(name, size_hw) != size_hw:
                raise ValueError(f"found a size of {name!r} that differs from the rows above, expected the same")
            objects.setdefault(name, []).append(found)
        except ValueError as error:
            problems.append(place.problem(f"{error}"))
    images = tuple(
        AnnotatedImage(name, source.parent, found[0].place, tuple(found), sizes[name])
        for name, found in objects.items()
    )
    return Reading(images, None, tuple(problems))


def looks_like_boxes(path: Path) -> bool:
    """Whether the first row of a CSV is a header that names a corner, or a row of boxes without one.

    Also True for a file that cannot be read: `read_csv` then raises the error.
    """
    text = read_start(path)
    if text is None:
        return True
    row = first_row(text)
    return any(name in CORNERS for name in _names(row)) or _without_header(row) is not None


def first_row(text: str) -> list[str]:
    """The first row of a CSV that is not blank; empty if there is none."""
    return next((row for row in csv.reader(text.splitlines()) if any(field.strip() for field in row)), [])


def csv_rows(path: Path, expected: str) -> Iterator[tuple[Place, list[str]]]:
    """The rows that are not blank, each with the line where it ends. Raises ProblemError, with what was `expected`."""
    reader = csv.reader(io.StringIO(read_text(path), newline=""), strict=True)
    try:
        for row in reader:
            if any(field.strip() for field in row):
                yield Place(path, reader.line_num), row
    except csv.Error as error:
        raise ProblemError(Problem(path, reader.line_num, f"found invalid CSV ({error}), {expected}")) from None


def _columns(path: Path, first: tuple[Place, list[str]]) -> tuple[tuple[str, ...], int]:
    """The names of the columns, and the number of header rows: 0 or 1."""
    place, row = first
    columns = _names(row)
    if set(_REQUIRED) <= set(columns):
        twice = [name for name in (*_REQUIRED, "width", "height") if columns.count(name) > 1]
        if twice:
            raise ProblemError(place.problem(f"found two columns for {twice[0]!r}, {_EXPECTED}"))
        return columns, 1
    headerless = _without_header(row)
    if headerless is None:
        raise ProblemError(Problem(path, place.line, f"found {len(row)} other columns, {_EXPECTED}"))
    return headerless, 0


def _names(row: Sequence[str]) -> tuple[str, ...]:
    """The columns that a header names."""
    names = [field.strip().lower() for field in row]
    return tuple(FILE_ALIASES.get(name, name) for name in names)


def _without_header(row: Sequence[str]) -> tuple[str, ...] | None:
    """The columns of a file without a header, by its first row; None if that is not a row of boxes."""
    try:
        parse_numbers(row[2:])
    except ValueError:
        return None
    return _WITHOUT_HEADER.get(len(row))


def _read_object(fields: Mapping[str, str], place: Place) -> AnnotatedObject:
    label = fields["label"].strip()
    if not fields["file"].strip() or not label:
        raise ValueError("found an empty file or label, expected both")
    return AnnotatedObject(label, parse_box([fields[corner] for corner in CORNERS]), place)


def _read_size(fields: Mapping[str, str]) -> tuple[int, int] | None:
    if "width" not in fields or "height" not in fields:
        return None
    return parse_size(fields["width"] or "0", fields["height"] or "0")
