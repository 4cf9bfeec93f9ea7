"""YOLO text: one file per image with lines ``class centre_x centre_y width height``, shares of the image from 0 to 1.

A line with more numbers is a polygon, ``class x1 y1 x2 y2 …``; its box is the bounding box (Ultralytics,
https://docs.ultralytics.com/datasets). The class is an index into `names` of data.yaml, or a line of classes.txt.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from onnxplain.data.formats.annotation_text import numbered_lines, parse_numbers, read_text
from onnxplain.data.formats.annotations import AnnotatedImage, AnnotatedObject, Reading
from onnxplain.data.formats.masks import is_masks
from onnxplain.data.formats.parts import part_of
from onnxplain.data.problem import Place, Problem, ProblemError
from onnxplain.errors import OnnxplainError

YAML_NAMES = ("data.yaml", "data.yml")
_CLASSES = "classes.txt"
_LABELS = "labels"


def class_list(folder: Path) -> Path | None:
    """The file with the class names: data.yaml, else classes.txt, beside or in `labels`; None if there is none."""
    candidates = [folder / name for name in (*YAML_NAMES, _CLASSES, f"{_LABELS}/{_CLASSES}")]
    return next((path for path in candidates if path.is_file()), None)


def label_files(folder: Path) -> list[Path]:
    """The text files below folders called `labels`; without such a folder, those in `folder` itself."""
    below = sorted(path for path in folder.rglob("*.txt") if path.name != _CLASSES)
    if folder.name == _LABELS:
        return below
    labelled = [path for path in below if _labels_folder(path, folder) != folder]
    return labelled or [path for path in below if path.parent == folder]


def read_yolo(source: Path) -> Reading:
    """Read a YOLO folder, or its data.yaml.

    Malformed lines, lines with an unknown class and empty files become problems. Raises OnnxplainError if there is no
    list of classes, or if PyYAML is missing for a data.yaml.
    """
    listed = source if source.is_file() else class_list(source)
    folder = source.parent if source.is_file() else source
    if listed is None:
        raise OnnxplainError(f"{folder}: found YOLO labels, but no list of classes, expected data.yaml or {_CLASSES}")
    problems: list[Problem] = []
    names = _read_names(listed, problems)
    images = []
    for path in label_files(folder):
        try:
            objects = _read_objects(path, names, problems)
        except ProblemError as error:
            problems.append(error.problem)
            continue
        labels_folder = _labels_folder(path, folder)
        images.append(
            AnnotatedImage(
                name=path.relative_to(labels_folder).with_suffix("").as_posix(),
                folder=labels_folder,
                place=Place(path),
                objects=objects,
                part=part_of(path.relative_to(folder)),
            )
        )
    return Reading(tuple(images), tuple(name for name in names if name is not None), tuple(problems))


def _labels_folder(path: Path, folder: Path) -> Path:
    """The last folder called `labels` between `folder` and the file, else `folder`; image names are relative to it."""
    if folder.name == _LABELS:
        return folder
    return next((parent for parent in path.parents if parent.name == _LABELS and folder in parent.parents), folder)


def _read_objects(path: Path, names: list[str | None], problems: list[Problem]) -> tuple[AnnotatedObject, ...]:
    objects = []
    for number, line in numbered_lines(read_text(path)):
        place = Place(path, number)
        try:
            objects.append(_read_object(line.split(), names, place))
        except ValueError as error:
            problems.append(place.problem(f"{error}"))
    return tuple(objects)


def _read_object(fields: list[str], names: list[str | None], place: Place) -> AnnotatedObject:
    if len(fields) != 5 and (len(fields) < 7 or len(fields) % 2 == 0):
        raise ValueError(
            f"found {len(fields)} numbers, expected class, centre x, centre y, width, height, or a polygon"
        )
    index, *numbers = parse_numbers(fields)
    if index != int(index) or not 0 <= index < len(names):
        raise ValueError(f"found class {fields[0]}, expected a whole number from 0 to {len(names) - 1}")
    label = names[int(index)]
    if label is None:
        raise ValueError(f"found class {fields[0]}, whose name is twice in the list of classes, expected it once")
    if len(numbers) == 4:
        x, y, width, height = numbers
        box = (x - width / 2, y - height / 2, x + width / 2, y + height / 2)
    else:
        box = (min(numbers[::2]), min(numbers[1::2]), max(numbers[::2]), max(numbers[1::2]))
    return AnnotatedObject(label, box, place, "normalized")


def _read_names(path: Path, problems: list[Problem]) -> list[str | None]:
    """The names by index; None for a name that occurred before, which is a problem."""
    if path.suffix == ".txt":
        listed = [line.strip() for line in read_text(path).rstrip().split("\n")]
        places = [Place(path, number) for number in range(1, len(listed) + 1)]
        if "" in listed:
            # Without it, every later class would get another index.
            raise ProblemError(Problem(path, listed.index("") + 1, "found an empty line, expected a class name"))
    else:
        listed = _names_of_yaml(path)
        places = [Place(path, entry=f"names[{index}]") for index in range(len(listed))]
    names: list[str | None] = []
    for name, place in zip(listed, places, strict=True):
        if name in names:
            problems.append(place.problem(f"found the class {name!r} again, expected each once: rename the class"))
        names.append(None if name in names else name)
    return names


def _names_of_yaml(path: Path) -> list[str]:
    try:
        import yaml
    except ImportError as error:
        raise OnnxplainError(f'{path}: PyYAML is not installed: pip install "onnxplain[train]"') from error
    # YAML reads yes, no, on and off as truth values.
    expected = "expected `names`: a list of class names as text (quote yes, no, on, off), or a mapping from 0, 1, …"
    try:
        tree: Any = yaml.safe_load(read_text(path))
    except yaml.MarkedYAMLError as error:
        line = None if error.problem_mark is None else error.problem_mark.line + 1
        raise ProblemError(Problem(path, line, f"found invalid YAML ({error.problem}), {expected}")) from None
    except (yaml.YAMLError, RecursionError):
        raise ProblemError(Problem(path, None, f"found invalid YAML, {expected}")) from None
    names = tree.get("names") if isinstance(tree, dict) else None
    if isinstance(names, dict):
        names = [names.get(index) for index in range(len(names))]
    if not isinstance(names, list) or not names or not all(type(name) in (str, int) for name in names):
        raise ProblemError(Problem(path, None, f"found no usable list of classes, {expected}"))
    return [str(name).strip() for name in names]


def is_yolo(source: Path) -> bool:
    """Whether a path looks like YOLO: a data.yaml, or a folder with data.yaml, classes.txt or `labels`."""
    if source.is_file():
        return source.suffix.lower() in (".yaml", ".yml")
    if class_list(source) is not None and not is_masks(source):
        return True
    return any(path.is_dir() for pattern in (_LABELS, f"*/{_LABELS}") for path in source.glob(pattern))
