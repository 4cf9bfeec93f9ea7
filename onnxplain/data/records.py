"""From annotations to records: find the images, check the boxes, give every record a unique name."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt

from onnxplain.data.class_mask import ClassMask
from onnxplain.data.formats.annotations import AnnotatedImage, AnnotatedObject
from onnxplain.data.formats.image_lookup import ImageLookup, read_size_hw
from onnxplain.data.problem import Problem
from onnxplain.data.record import Record
from onnxplain.errors import ImageError

EDGE_TOLERANCE = 0.5
"""A box may cross the edge by this many pixels (rounding) and is clipped. If it crosses by more, it is left out."""


def build_records(
    images: Sequence[AnnotatedImage], labels: Sequence[str], lookup: ImageLookup
) -> tuple[tuple[Record, ...], tuple[Problem, ...]]:
    """One record per image and label, in the order of the annotations, and the problems of what was left out.

    Reads the header of every image. Problems are: a missing file; a file that is not an image or has another size than
    annotated; an image that is annotated twice; a box outside the image or without area; a label that is not in
    `labels`; the same object twice.
    """
    found: dict[tuple[Path, str], list[npt.NDArray[np.float32]]] = {}
    masks: dict[tuple[Path, str], ClassMask] = {}
    problems: list[Problem] = []
    taken: dict[Path, AnnotatedImage] = {}
    for image in images:
        if not image.objects and not image.without_label:
            continue  # the reader has already reported it
        try:
            path = lookup.find(image.name, image.folder)
            size_hw = _checked_size(path, image)
        except ImageError as error:
            problems.append(image.place.problem(f"{error}"))
            continue
        if path in taken:
            problems.append(image.place.problem(f"image {path} is already annotated in {taken[path].place.path}"))
            continue
        taken[path] = image
        if not image.objects:
            found[path, ""] = [np.empty((0, 4), np.float32)]
        for annotated in image.objects:
            try:
                box = _checked_box(annotated, labels, size_hw)
                boxes = found.setdefault((path, annotated.label), [])
                if any(np.array_equal(box, other) for other in boxes):
                    raise ValueError(f"found the same {annotated.label!r} again, expected each once")
                boxes.append(box)
                if annotated.mask is not None:
                    masks[path, annotated.label] = annotated.mask
            except ValueError as error:
                problems.append(annotated.place.problem(f"{error}"))
    kept = {key: np.concatenate(boxes) for key, boxes in found.items() if boxes}
    names = _name_records(list(kept))
    records = tuple(
        Record(path, label, kept[path, label], names[path, label], taken[path].numbers, masks.get((path, label)))
        for path, label in kept
    )
    return records, tuple(problems)


def _checked_size(path: Path, image: AnnotatedImage) -> tuple[int, int]:
    size_hw = read_size_hw(path)
    if image.size_hw not in (None, size_hw):
        height, width = image.size_hw or size_hw
        raise ImageError(
            f"found {path} with {size_hw[1]} × {size_hw[0]} pixels, expected {width} × {height} as annotated: its "
            "boxes were drawn on another image, or before the EXIF rotation"
        )
    return size_hw


def _checked_box(
    annotated: AnnotatedObject, labels: Sequence[str], size_hw: tuple[int, int]
) -> npt.NDArray[np.float32]:
    """The box in pixels, float32 (1, 4); (0, 4) if there is none. Raises ValueError for a bad label or box."""
    if annotated.label not in labels:
        raise ValueError(f"found label {annotated.label!r}, expected one of {', '.join(labels)[:80]}")
    if annotated.box_xyxy is None:
        return np.empty((0, 4), np.float32)
    edges = np.array([size_hw[1], size_hw[0]] * 2, np.float64)
    box = np.array(annotated.box_xyxy) * (edges if annotated.units == "normalized" else 1)
    shown = " ".join(f"{edge:g}" for edge in box)
    if (box < -EDGE_TOLERANCE).any() or (box > edges + EDGE_TOLERANCE).any():
        raise ValueError(f"found box {shown}, expected it inside the image of {size_hw[1]} × {size_hw[0]} pixels")
    clipped: npt.NDArray[np.float32] = np.clip(box, 0, edges).astype(np.float32)
    if not (clipped[2:] > clipped[:2]).all():
        raise ValueError(f"found box {shown}, expected x1 < x2 and y1 < y2")
    return clipped[None]


def _name_records(keys: Sequence[tuple[Path, str]]) -> dict[tuple[Path, str], str]:
    """A unique name for each image and label: the stem, or if several images share it, the shortest end of the path
    that is unique. ``#label`` is appended if the image shows several classes."""
    paths = list(dict.fromkeys(path for path, _ in keys))
    names: dict[Path, str] = {}
    for length in range(1, max((len(path.parts) for path in paths), default=0) + 1):
        for spell in (_without_suffix, Path.as_posix):
            spelled = {path: spell(Path(*path.parts[-length:])) for path in paths if path not in names}
            # Upper and lower case count as equal: many file systems do not distinguish them.
            count = Counter(name.casefold() for name in (*names.values(), *spelled.values()))
            names |= {path: name for path, name in spelled.items() if count[name.casefold()] == 1}
        if len(names) == len(paths):
            break
    labels = Counter(path for path, _ in keys)
    return {
        (path, label): names.get(path, path.as_posix()) + (f"#{label}" if labels[path] > 1 else "")
        for path, label in keys
    }


def _without_suffix(path: Path) -> str:
    return path.with_suffix("").as_posix()
