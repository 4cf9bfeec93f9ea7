"""Pascal VOC: one XML file per image.

Boxes are whole pixels counted from 1, the last one included (Everingham and Winn, The PASCAL VOC development kit,
2012): xmin … xmax covers [xmin − 1, xmax).
"""

from __future__ import annotations

from pathlib import Path

from onnxplain.data.formats.annotation_text import parse_box, parse_size
from onnxplain.data.formats.annotations import AnnotatedImage, AnnotatedObject, Reading
from onnxplain.data.formats.xml_tree import Element, read_xml
from onnxplain.data.problem import Place, Problem, ProblemError

_CORNERS = ("xmin", "ymin", "xmax", "ymax")


def voc_files(source: Path) -> list[Path]:
    """The XML files of a folder, or of `Annotations` in it; `source` itself if it is a file."""
    if source.is_file():
        return [source]
    for folder in (source, source / "Annotations"):
        files = sorted(path for path in folder.glob("*") if path.suffix.lower() == ".xml")
        if files:
            return files
    return []


def is_voc(source: Path) -> bool:
    """Whether a path is an XML file, or a folder of them."""
    return source.suffix.lower() == ".xml" if source.is_file() else bool(voc_files(source))


def read_voc(source: Path, origin: int = 1) -> Reading:
    """Read one XML file or a folder of them. `origin`: 1 if pixels are counted from 1, 0 if they are continuous from 0.

    A file that is not a VOC annotation, a second file for the same image, and an object without name or box become
    problems.
    """
    images: dict[str, AnnotatedImage] = {}
    problems: list[Problem] = []
    for path in voc_files(source):
        try:
            image = _read_image(path, origin, problems)
        except ProblemError as error:
            problems.append(error.problem)
            continue
        if image.name in images:
            first = images[image.name].place.path.name
            problems.append(image.place.problem(f"image {image.name!r} is already annotated in {first}"))
        else:
            images[image.name] = image
    return Reading(tuple(images.values()), None, tuple(problems))


def _read_image(path: Path, origin: int, problems: list[Problem]) -> AnnotatedImage:
    root = read_xml(path)
    if root.tag != "annotation":
        message = f"found <{root.tag}>, expected the <annotation> of a Pascal VOC file"
        raise ProblemError(Problem(path, root.line, message))
    objects = []
    for element in root.find_all("object"):
        place = Place(path, element.line)
        try:
            objects.append(_read_object(element, place, origin))
        except ValueError as error:
            problems.append(place.problem(f"{error}"))
    if not root.find_all("object"):
        problems.append(Problem(path, root.line, "found no <object>, expected at least one"))
    filename = root.find("filename")
    return AnnotatedImage(
        name=root.text_of("filename") or path.stem,
        folder=path.parent,
        place=Place(path, (filename or root).line),
        objects=tuple(objects),
        size_hw=_read_size(root, path),
    )


def _read_object(element: Element, place: Place, origin: int) -> AnnotatedObject:
    label, box = element.text_of("name"), element.find("bndbox")
    if not label:
        raise ValueError("found an <object> without <name>, expected one")
    if box is None:
        raise ValueError(f"found object {label!r} without <bndbox>, expected one")
    missing = [corner for corner in _CORNERS if box.find(corner) is None]
    if missing:
        raise ValueError(f"found a <bndbox> of {label!r} without <{missing[0]}>, expected one")
    x1, y1, x2, y2 = parse_box([box.text_of(corner) for corner in _CORNERS])
    if origin == 1 and min(x1, y1) == 0:
        raise ValueError(
            f"found xmin {x1:g}, ymin {y1:g}, expected pixels counted from 1: if the tool counted from 0, "
            "open with voc_origin=0"
        )
    return AnnotatedObject(label, (x1 - origin, y1 - origin, x2, y2), place)


def _read_size(root: Element, path: Path) -> tuple[int, int] | None:
    size = root.find("size")
    if size is None:
        return None
    try:
        return parse_size(size.text_of("width") or "0", size.text_of("height") or "0")
    except ValueError as error:
        raise ProblemError(Problem(path, size.line, f"{error}")) from None
