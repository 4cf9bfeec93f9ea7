"""Label maps: a folder of images and a folder of masks, one PNG per image, whose pixel values are class indices.

The form of Pascal VOC's `SegmentationClass` (Everingham and Winn, The PASCAL VOC development kit, 2012): index 0 is the
background, and the largest value (255, of 16 bits 65535) stands for pixels that are not labelled.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from onnxplain.data.bounds import leaves_data_set
from onnxplain.data.class_mask import ClassMask, not_labelled, read_label_map
from onnxplain.data.formats.annotation_text import read_text
from onnxplain.data.formats.annotations import AnnotatedImage, AnnotatedObject, Reading
from onnxplain.data.formats.voc import is_voc
from onnxplain.data.problem import Place, Problem, ProblemError
from onnxplain.errors import ImageError, OnnxplainError

_FOLDERS = {"SegmentationClass": "JPEGImages", "masks": "images"}
"""Folder of masks → folder of images beside it."""
_NAME_FILES = ("classes.txt", "labels.txt")
_SUFFIXES = (".png", ".tif", ".tiff", ".bmp", ".gif")
"""Formats without loss: those of JPEG change the indices."""
_BACKGROUNDS = ("background", "__background__", "_background_")


def is_masks(source: Path) -> bool:
    """Whether a path is a folder of masks, or has one beside a folder of images."""
    folder = _mask_folder(source)
    if folder is None or is_voc(source):
        return False
    return source == folder or (source / _FOLDERS[folder.name]).is_dir()


def read_masks(source: Path) -> Reading:
    """Read a folder of label maps: one object per class that a map shows, with its mask.

    The names of the classes are in `classes.txt` or `labels.txt`, beside the folders or in that of the masks: one line
    per index, from 0. Without such a file a class is called by its index. Index 0 is the background unless the file
    gives it another name. Masks that cannot be read, that show no class, or an index without a name become problems.
    """
    folder = _mask_folder(source)
    if folder is None:
        raise OnnxplainError(
            f"{source}: found no folder of masks, expected {' or '.join(_FOLDERS)} in it, or one of these itself"
        )
    twin = folder.parent / _FOLDERS[folder.name]
    names = _read_names(folder)
    images: list[AnnotatedImage] = []
    problems: list[Problem] = []
    shown: set[int] = set()
    for path in sorted(path for path in folder.rglob("*") if not path.is_dir() and not path.name.startswith(".")):
        if path.name in _NAME_FILES:
            continue
        try:
            image = _read_mask(path, folder, twin if twin.is_dir() else folder.parent, names)
        except ProblemError as error:
            problems.append(error.problem)
            continue
        images.append(image)
        shown |= {each.mask.index for each in image.objects if each.mask is not None}
    labels = tuple(names) if names else tuple(map(str, sorted(shown)))
    return Reading(tuple(images), tuple(label for label in labels if label not in _BACKGROUNDS), tuple(problems))


def files_of_names(source: Path) -> list[Path]:
    """The files of names beside a folder of masks that is opened itself: they belong to the data set."""
    return [source.absolute().parent.resolve() / name for name in _NAME_FILES] if source.name in _FOLDERS else []


def _mask_folder(source: Path) -> Path | None:
    """The folder of masks: `source` itself, or the one in it."""
    if source.name in _FOLDERS and source.is_dir():
        return source
    return next((source / name for name in _FOLDERS if (source / name).is_dir()), None)


def _read_names(folder: Path) -> list[str]:
    """The names by index; empty without a file of names. Raises ProblemError for empty lines and names given twice."""
    places = [parent / name for parent in (folder, folder.parent) for name in _NAME_FILES]
    path = next((path for path in places if path.is_file()), None)
    if path is None:
        return []
    names = [line.strip() for line in read_text(path).rstrip().split("\n")]
    for number, name in enumerate(names, 1):
        if not name or name in names[: number - 1]:
            raise ProblemError(
                Problem(path, number, f"found {repr(name) if name else 'an empty line'}, expected a class, each once")
            )
    return names


def _read_mask(path: Path, folder: Path, images: Path, names: list[str]) -> AnnotatedImage:
    """The classes of one mask. Raises ProblemError if it cannot be used."""

    def problem(message: str) -> ProblemError:
        return ProblemError(Problem(path, None, message.removeprefix(f"{path}: ")))

    if path.suffix.lower() not in _SUFFIXES:
        raise problem(f"found a {path.suffix or 'nameless'} file, expected a mask without loss: {', '.join(_SUFFIXES)}")
    if leaves_data_set(path):
        raise problem("found a link to a file outside of the data set, expected a file in it")
    try:
        label_map = read_label_map(path)
    except ImageError as error:
        raise problem(f"{error}") from None
    void = not_labelled(label_map)
    indices = [int(index) for index in np.unique(label_map) if index != void]
    if names and indices and indices[-1] >= len(names):
        raise problem(f"found class {indices[-1]}, expected at most {len(names) - 1}, the last that has a name")
    background = not names or names[0] in _BACKGROUNDS
    shown = indices[1:] if background and indices[:1] == [0] else indices
    if not shown:
        extra = f": write the class as 1, because {void} means not labelled" if (label_map == void).any() else ""
        raise problem(f"found only background, expected pixels of a class{extra}")
    place = Place(path)
    height, width = label_map.shape
    return AnnotatedImage(
        name=path.relative_to(folder).with_suffix("").as_posix(),
        folder=images,
        place=place,
        objects=tuple(
            AnnotatedObject(names[index] if names else str(index), None, place, mask=ClassMask(path, index))
            for index in shown
        ),
        size_hw=(height, width),
    )
