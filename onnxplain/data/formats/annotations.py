"""The content of annotation files, not yet checked against the images."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from onnxplain.contract import BoxUnits
from onnxplain.data.class_mask import ClassMask
from onnxplain.data.problem import Place, Problem
from onnxplain.runtime.box import Corners


@dataclass(frozen=True)
class AnnotatedObject:
    """One object; `box_xyxy` is continuous (pixel i covers [i, i + 1)), None if only the label is known.

    `units`: pixels of the image, or shares of its width and height. `mask`: the pixels of the class, if they are known.
    """

    label: str
    box_xyxy: Corners | None
    place: Place
    units: BoxUnits = "pixels"
    mask: ClassMask | None = None


@dataclass(frozen=True)
class AnnotatedImage:
    """One image and its objects.

    `name`: a path relative to `folder`, as written in the file; its suffix may be missing. `size_hw`: the size that the
    file states, None if it states none. `part`: the part of the data set that the image belongs to (``train``,
    ``validation``, ``test``), empty if the data set has no parts. `numbers`: what was measured of the image, by column.
    `without_label`: the file says that the image shows no class, or it only has numbers; other images without an object
    are a problem that the reader has reported.
    """

    name: str
    folder: Path
    place: Place
    objects: tuple[AnnotatedObject, ...]
    size_hw: tuple[int, int] | None = None
    part: str = ""
    numbers: Mapping[str, float] = field(default_factory=dict)
    without_label: bool = False


@dataclass(frozen=True)
class Reading:
    """Everything that a reader found. `labels`: the classes in the order of the data set; None if it has no list of
    classes: then the classes are the labels that occur, sorted. `problems`: what could not be read."""

    images: tuple[AnnotatedImage, ...]
    labels: tuple[str, ...] | None
    problems: tuple[Problem, ...]
