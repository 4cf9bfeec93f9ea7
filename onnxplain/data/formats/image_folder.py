"""Class folders: each subfolder holds the images of one class and has its name; labels only, no boxes."""

from __future__ import annotations

from pathlib import Path

from onnxplain.data.formats.annotations import AnnotatedImage, AnnotatedObject, Reading
from onnxplain.data.formats.masks import is_masks
from onnxplain.data.formats.parts import part_folders, subfolders
from onnxplain.data.problem import Place, Problem
from onnxplain.errors import OnnxplainError
from onnxplain.runtime.image import IMAGE_SUFFIXES


def read_image_folder(source: Path) -> Reading:
    """Read class folders, with images at any depth; the classes are the folder names, sorted.

    Other files, images beside the class folders and class folders without an image become problems. Names that start
    with a dot are ignored.
    """
    if not source.is_dir():
        raise OnnxplainError(f"{source}: found a file, expected a folder of class folders")
    problems = [
        Problem(path, None, "found a file beside the class folders, expected it in one of them")
        for path in sorted(source.iterdir())
        if path.is_file() and not path.name.startswith(".")
    ]
    images: list[AnnotatedImage] = []
    folders = subfolders(source)
    for folder in folders:
        before = len(images)
        for path in sorted(folder.rglob("*")):
            if path.name.startswith(".") or path.is_dir():
                continue
            if path.suffix.lower() not in IMAGE_SUFFIXES:
                problems.append(Problem(path, None, f"found no image file, expected {', '.join(IMAGE_SUFFIXES)}"))
                continue
            place = Place(path)
            name = path.relative_to(source).as_posix()
            images.append(AnnotatedImage(name, source, place, (AnnotatedObject(folder.name, None, place),)))
        if len(images) == before:
            problems.append(Problem(folder, None, "found no image in this class folder, expected at least one"))
    return Reading(tuple(images), tuple(folder.name for folder in folders), tuple(problems))


def is_image_folder(source: Path) -> bool:
    """Whether there are at least two subfolders, all with an image, that are not the parts of a data set, or its
    images and masks."""
    folders = subfolders(source)
    if len(folders) < 2 or part_folders(source) or is_masks(source):
        return False
    return all(_holds_image(folder) for folder in folders)


def _holds_image(folder: Path) -> bool:
    return any(path.suffix.lower() in IMAGE_SUFFIXES for path in folder.rglob("*"))
