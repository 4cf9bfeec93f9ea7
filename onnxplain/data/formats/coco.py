"""COCO detection JSON: images, annotations and categories in one file.

A `bbox` is x, y, width, height in continuous pixels from 0 (Lin et al. 2014, https://cocodataset.org/#format-data).
"""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

from onnxplain.data.formats.annotation_text import read_start, read_text
from onnxplain.data.formats.annotations import AnnotatedImage, AnnotatedObject, Reading
from onnxplain.data.problem import Place, Problem, ProblemError
from onnxplain.runtime.box import Corners

_LISTS = ("images", "annotations", "categories")
_LARGEST = 1e9
"""Larger than any real coordinate or side, in pixels."""
_TOKENS = re.compile(r'"(?:[^"\\]|\\.)*(?:"|\Z)|[{}\[\]:]')


def read_coco(source: Path) -> Reading:
    """Read a COCO file; the classes are its categories, ordered by id.

    Crowd regions, images without an object, malformed entries and entries with an unknown id become problems.
    Raises ProblemError for a file that is not COCO JSON.
    """
    tree = _read_tree(source)
    problems: list[Problem] = []
    names = _read_categories(source, tree["categories"], problems)
    images = _read_images(source, tree["images"], problems)
    objects: dict[Any, list[AnnotatedObject]] = {identity: [] for identity in images}
    mentioned = set()
    for index, entry in enumerate(tree["annotations"]):
        place = Place(source, entry=f"annotations[{index}]")
        try:
            identity = _identity(entry, "image_id")
            mentioned.add(identity)
            if identity not in images:
                raise ValueError(f"found image_id {identity!r}, expected the id of an entry in images")
            objects[identity].append(_read_object(entry, names, place))
        except ValueError as error:
            problems.append(place.problem(f"{error}"))
    found = []
    for identity, image in images.items():
        if identity not in mentioned:
            problems.append(image.place.problem(f"image {image.name!r} has no annotation, expected at least one"))
        found.append(AnnotatedImage(image.name, image.folder, image.place, tuple(objects[identity]), image.size_hw))
    return Reading(tuple(found), tuple(dict.fromkeys(names.values())), tuple(problems))


def looks_like_coco(path: Path) -> bool:
    """Whether the beginning of a JSON file names COCO's lists: two of them, or one if the file is longer than that.

    Also True for a file that cannot be read: `read_coco` then raises the error.
    """
    text = read_start(path)
    if text is None:
        return True
    names, whole = _top_names(text)
    return len(names & set(_LISTS)) >= (2 if whole else 1)


def _top_names(text: str) -> tuple[set[str], bool]:
    """Names of the lists in the outermost JSON object, and whether `text` contains the end of that object."""
    names: set[str] = set()
    if not text.lstrip().startswith("{"):
        return names, False
    depth, last = 0, ["", "", ""]
    for token in _TOKENS.findall(text):
        last = [*last[1:], token]
        if depth == 1 and last[1:] == [":", "["]:
            names.add(last[0].strip('"'))
        depth += (token in "{[") - (token in "}]")
        if not depth:
            return names, True
    return names, False


def _read_tree(path: Path) -> dict[str, Any]:
    expected = f"expected a COCO file: an object with the lists {', '.join(_LISTS)}"
    try:
        tree = json.loads(read_text(path))
    except json.JSONDecodeError as error:
        raise ProblemError(Problem(path, error.lineno, f"found invalid JSON ({error.msg}), {expected}")) from None
    except (RecursionError, ValueError):  # ValueError: a number of thousands of digits
        raise ProblemError(
            Problem(path, None, f"found JSON that is too deep or has too long numbers, {expected}")
        ) from None
    if not isinstance(tree, dict):
        raise ProblemError(Problem(path, None, f"found a JSON {type(tree).__name__}, {expected}"))
    missing = [name for name in _LISTS if not isinstance(tree.get(name), list)]
    if missing:
        raise ProblemError(Problem(path, None, f"found no list {missing[0]!r}, {expected}"))
    return tree


def _read_categories(path: Path, entries: list[Any], problems: list[Problem]) -> dict[Any, str]:
    """Names by id, in the order of the ids; a second category with the same name or id is a problem."""
    names: dict[Any, str] = {}
    for index, entry in enumerate(entries):
        place = Place(path, entry=f"categories[{index}]")
        try:
            identity, name = _identity(entry, "id"), entry.get("name")
            if not isinstance(name, str) or not name.strip():
                raise ValueError(f"found name {name!r}, expected text")
            if identity in names or name.strip() in names.values():
                raise ValueError(f"found id {identity!r}, name {name!r} again, expected each once: rename the category")
            names[identity] = name.strip()
        except ValueError as error:
            problems.append(place.problem(f"{error}"))
    return dict(sorted(names.items(), key=lambda item: (isinstance(item[0], str), item[0])))


def _read_images(path: Path, entries: list[Any], problems: list[Problem]) -> dict[Any, AnnotatedImage]:
    images: dict[Any, AnnotatedImage] = {}
    files = set()
    for index, entry in enumerate(entries):
        place = Place(path, entry=f"images[{index}]")
        try:
            identity, name = _identity(entry, "id"), entry.get("file_name")
            if not isinstance(name, str) or not name:
                raise ValueError(f"found file_name {name!r}, expected text")
            if identity in images or name in files:
                raise ValueError(f"found id {identity!r}, file_name {name!r} again, expected each once")
            files.add(name)
            images[identity] = AnnotatedImage(name, path.parent, place, (), _read_size(entry))
        except ValueError as error:
            problems.append(place.problem(f"{error}"))
    return images


def _read_object(entry: dict[str, Any], names: dict[Any, str], place: Place) -> AnnotatedObject:
    category = _identity(entry, "category_id")
    if category not in names:
        raise ValueError(f"found category_id {category!r}, expected the id of an entry in categories")
    if entry.get("iscrowd"):
        raise ValueError(f"found a crowd region of {names[category]!r}, expected one object")
    return AnnotatedObject(names[category], _read_box(entry.get("bbox")), place)


def _read_box(bbox: Any) -> Corners:
    if not isinstance(bbox, list) or len(bbox) != 4 or not all(_is_number(value) for value in bbox):
        raise ValueError(f"found bbox {str(bbox)[:60]}, expected four numbers: x, y, width, height")
    x, y, width, height = bbox
    return float(x), float(y), float(x + width), float(y + height)


def _read_size(entry: dict[str, Any]) -> tuple[int, int] | None:
    """Height and width; None if the file states none, or 0."""
    height, width = entry.get("height") or 0, entry.get("width") or 0
    if not all(_is_number(side) and side >= 0 and side == int(side) for side in (height, width)):
        raise ValueError(f"found height {height!r} and width {width!r}, expected whole pixels")
    return (int(height), int(width)) if height and width else None


def _identity(entry: Any, key: str) -> int | str:
    if not isinstance(entry, dict):
        raise ValueError(f"found {type(entry).__name__}, expected a JSON object")
    identity = entry.get(key)
    if not isinstance(identity, int | str):
        raise ValueError(f"found {key} {identity!r}, expected a number")
    return identity


def _is_number(value: Any) -> bool:
    """Whether a value is a usable number: not a bool, NaN, infinity or too large, all of which Python's JSON allows."""
    return isinstance(value, int | float) and not isinstance(value, bool) and abs(value) < _LARGEST
