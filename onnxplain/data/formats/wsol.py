"""The metadata lists of the WSOL benchmark (Choe et al., Evaluating Weakly Supervised Object Localization Methods
Right, CVPR 2020; github.com/clovaai/wsolevaluation).

image_ids.txt: ``path``; class_labels.txt: ``path,class index``; localization.txt: ``path,x0,y0,x1,y1``, whole pixels
counted from 0, with the last one included (the benchmark's IoU adds 1 to every side); image_sizes.txt:
``path,width,height``. The last two may be missing. The class names are the indices as text.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from onnxplain.data.formats.annotation_text import numbered_lines, parse_box, parse_size, read_text
from onnxplain.data.formats.annotations import AnnotatedImage, AnnotatedObject, Reading
from onnxplain.data.problem import Place, Problem, ProblemError
from onnxplain.runtime.box import Corners

IDS_FILE, LABELS_FILE = "image_ids.txt", "class_labels.txt"
BOXES_FILE, SIZES_FILE = "localization.txt", "image_sizes.txt"


def read_wsol(source: Path) -> Reading:
    """Read a folder of metadata lists.

    Malformed lines, images listed twice or without a class, and lines about images that are not listed become
    problems. Raises ProblemError if image_ids.txt or class_labels.txt cannot be read.
    """
    problems: list[Problem] = []
    listed: dict[str, Place] = {}
    for number, name in numbered_lines(read_text(source / IDS_FILE)):
        place = Place(source / IDS_FILE, number)
        if name in listed:
            problems.append(place.problem(f"image {name!r} is already listed in line {listed[name].line}"))
        else:
            listed[name] = place
    labels: dict[str, str] = {}
    for place, name, (index,) in _fields(source / LABELS_FILE, 1, listed, problems):
        if not index.isdecimal():
            problems.append(place.problem(f"found class {index!r}, expected a whole number"))
        elif labels.setdefault(name, str(int(index))) != str(int(index)):
            problems.append(place.problem(f"found class {index} for {name!r}, expected {labels[name]} as above"))
    sizes = _read_sizes(source / SIZES_FILE, listed, problems)
    boxes = _read_boxes(source / BOXES_FILE, listed, problems)
    images = []
    for name, place in listed.items():
        if name not in labels:
            problems.append(place.problem(f"image {name!r} has no class in {LABELS_FILE}"))
            continue
        objects = tuple(AnnotatedObject(labels[name], box, at) for at, box in boxes.get(name, [(place, None)]))
        images.append(AnnotatedImage(name, source, place, objects, sizes.get(name)))
    classes = tuple(str(index) for index in sorted({int(index) for index in labels.values()}))
    return Reading(tuple(images), classes, tuple(problems))


def _read_sizes(path: Path, listed: dict[str, Place], problems: list[Problem]) -> dict[str, tuple[int, int] | None]:
    sizes: dict[str, tuple[int, int] | None] = {}
    for place, name, (width, height) in _optional_fields(path, 2, listed, problems):
        try:
            sizes[name] = parse_size(width, height)
        except ValueError as error:
            problems.append(place.problem(f"{error}"))
    return sizes


def _read_boxes(
    path: Path, listed: dict[str, Place], problems: list[Problem]
) -> dict[str, list[tuple[Place, Corners | None]]]:
    boxes: dict[str, list[tuple[Place, Corners | None]]] = {}
    for place, name, fields in _optional_fields(path, 4, listed, problems):
        try:
            x0, y0, x1, y1 = parse_box(fields)
            boxes.setdefault(name, []).append((place, (x0, y0, x1 + 1, y1 + 1)))
        except ValueError as error:
            problems.append(place.problem(f"{error}"))
    return boxes


def _optional_fields(
    path: Path, count: int, listed: dict[str, Place], problems: list[Problem]
) -> Iterator[tuple[Place, str, list[str]]]:
    """As `_fields`, but the list may be missing; a list that cannot be read is one problem."""
    try:
        if path.exists():
            yield from _fields(path, count, listed, problems)
    except ProblemError as error:
        problems.append(error.problem)


def _fields(
    path: Path, count: int, listed: dict[str, Place], problems: list[Problem]
) -> Iterator[tuple[Place, str, list[str]]]:
    """For each line: its place, the image and the `count` fields after it; malformed lines become problems."""
    for number, line in numbered_lines(read_text(path)):
        place = Place(path, number)
        name, *fields = line.rsplit(",", count)
        if path.name == BOXES_FILE and any(field.endswith(".png") for field in fields):
            # OpenImages has masks: every line is like this, so one error is enough.
            raise ProblemError(place.problem("found masks, expected boxes: path,x0,y0,x1,y1"))
        if len(fields) != count:
            problems.append(place.problem(f"found {len(fields) + 1} columns, expected {count + 1}"))
        elif name not in listed:
            problems.append(place.problem(f"found image {name!r}, expected one that {IDS_FILE} lists"))
        else:
            yield place, name, [field.strip() for field in fields]
