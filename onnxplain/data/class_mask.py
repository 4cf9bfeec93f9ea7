"""The true mask of a class: the pixels of an image that show it, as a label map says."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from onnxplain.contract.expected import refuse
from onnxplain.errors import ImageError, OnnxplainError
from onnxplain.runtime.image import DEFAULT_MAX_MEGAPIXELS, check_file, opened

_MODES = {"1": np.uint8, "L": np.uint8, "P": np.uint8, "I;16": np.uint16, "I;16B": np.uint16, "I": np.uint16}
"""Pillow's modes of one channel of whole numbers, and the type of their indices."""


@dataclass(frozen=True, eq=False)
class TruePixels:
    """What a label map says of one class: bool (H, W) each.

    `shown`: the pixels of the class. `known`: the pixels that have a class; the others are not labelled.
    """

    shown: npt.NDArray[np.bool_]
    known: npt.NDArray[np.bool_]


@dataclass(frozen=True, eq=False)
class ClassMask:
    """The pixels of one class in a label map.

    `label_map`: a file that `read_label_map` reads, or its pixels, uint8 or uint16 (H, W): the index of a class for
    each pixel; the largest number of the type, 255 or 65535, is "not labelled". `index`: of this class. Raises
    OnnxplainError for anything else.
    """

    label_map: Path | npt.NDArray[np.uint8] | npt.NDArray[np.uint16]
    index: int

    def __post_init__(self) -> None:
        if isinstance(self.label_map, np.ndarray):
            if self.label_map.dtype not in (np.uint8, np.uint16) or self.label_map.ndim != 2:
                raise OnnxplainError(
                    f"label map: found {self.label_map.dtype} {self.label_map.shape}, expected uint8 or uint16 (H, W)"
                )
        elif not isinstance(self.label_map, Path):
            refuse("label_map", self.label_map, "a path or an array")
        if not isinstance(self.index, int) or isinstance(self.index, bool) or self.index < 0:
            refuse("index", self.index, "the index of a class, from 0")

    def load(self) -> TruePixels:
        """The pixels of the class. Raises ImageError if the label map cannot be read."""
        labels = self.label_map if isinstance(self.label_map, np.ndarray) else read_label_map(self.label_map)
        return TruePixels(labels == self.index, labels != not_labelled(labels))


def read_label_map(path: Path) -> npt.NDArray[np.uint8] | npt.NDArray[np.uint16]:
    """The class index of each pixel, uint8 or uint16 (H, W), from an image of one channel or of palette colours.

    Of a palette image the indices count, not the colours, as in Pascal VOC. Raises ImageError for another image.
    """
    check_file(path)
    with opened(path) as image:
        if image.mode not in _MODES:
            raise ImageError(
                f"{path}: found an image of mode {image.mode}, expected a label map: one channel, or a palette, whose "
                "value is the index of a class"
            )
        if image.width * image.height > DEFAULT_MAX_MEGAPIXELS * 1e6:
            raise ImageError(
                f"{path}: found {image.width} × {image.height} pixels, expected at most {DEFAULT_MAX_MEGAPIXELS} "
                "megapixels: shrink image and label map"
            )
        pixels = np.asarray(image)
        if pixels.min() < 0 or pixels.max() > np.iinfo(np.uint16).max:
            raise ImageError(f"{path}: found values {pixels.min()} to {pixels.max()}, expected indices of classes")
        return pixels.astype(_MODES[image.mode])


def not_labelled(labels: npt.NDArray[np.uint8] | npt.NDArray[np.uint16]) -> int:
    """The value of pixels without a class in such a map: the largest number of its type."""
    return int(np.iinfo(labels.dtype).max)
