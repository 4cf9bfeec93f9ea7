"""Baselines: boxes and heatmaps that do not depend on the image; a localizer has to be better."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from onnxplain.data.formats.image_lookup import read_size_hw
from onnxplain.data.record import Record
from onnxplain.errors import OnnxplainError
from onnxplain.runtime.box import Corners

CENTER_SHARE = 0.5
SIGMA_SHARE = 0.25


def center_box(size_hw: tuple[int, int]) -> npt.NDArray[np.float32]:
    """The centred box with half the image's area and the same aspect ratio: float32 (4,) xyxy in pixels."""
    margin = (1 - math.sqrt(CENTER_SHARE)) / 2
    return _place(np.array([margin, margin, 1 - margin, 1 - margin]), size_hw)


def center_gaussian(size_hw: tuple[int, int]) -> npt.NDArray[np.float32]:
    """A heatmap (H, W), float32 in [0, 1], hottest in the middle: the centre baseline of Choe et al. 2020.

    ``exp(−x² / 2σ²)`` along each axis, σ a quarter of the image's side; isotropic after resizing to a square. Over
    all levels, any σ gives the same boxes, except for rounding to 8 bits.
    """
    rows, columns = (np.exp(-(((np.arange(side) + 0.5) / side - 0.5) ** 2) / (2 * SIGMA_SHARE**2)) for side in size_hw)
    heat = np.outer(rows, columns)
    heatmap: npt.NDArray[np.float32] = (heat / heat.max()).astype(np.float32)
    return heatmap


@dataclass(frozen=True)
class MeanBox:
    """The mean of all training boxes, `share_xyxy`: shares of the image's width and height, each in [0, 1].

    Raises OnnxplainError for other values.
    """

    share_xyxy: Corners

    def __post_init__(self) -> None:
        x1, y1, x2, y2 = self.share_xyxy
        if not (0 <= x1 < x2 <= 1 and 0 <= y1 < y2 <= 1):
            raise OnnxplainError(f"mean box: found {self.share_xyxy}, expected shares 0 ≤ x1 < x2 ≤ 1, 0 ≤ y1 < y2 ≤ 1")

    @classmethod
    def of(cls, records: Iterable[Record]) -> MeanBox:
        """The mean over all boxes of all records; of image files only the headers are read.

        Raises OnnxplainError if no record has a box, and ImageError if an image cannot be read.
        """
        shares = [record.boxes_xyxy / _sides_xyxy(_size_hw(record)) for record in records if len(record.boxes_xyxy)]
        if not shares:
            raise OnnxplainError("mean box: found no box in the training records, expected at least one")
        x1, y1, x2, y2 = np.concatenate(shares).mean(axis=0, dtype=np.float64).clip(0, 1).tolist()
        return cls((x1, y1, x2, y2))

    def place(self, size_hw: tuple[int, int]) -> npt.NDArray[np.float32]:
        """The box in an image of that size: float32 (4,) xyxy in pixels."""
        return _place(np.array(self.share_xyxy), size_hw)


def _place(share_xyxy: npt.NDArray[np.float64], size_hw: tuple[int, int]) -> npt.NDArray[np.float32]:
    placed: npt.NDArray[np.float32] = (share_xyxy * _sides_xyxy(size_hw)).astype(np.float32)
    return placed


def _sides_xyxy(size_hw: tuple[int, int]) -> npt.NDArray[np.float64]:
    height, width = size_hw
    return np.array([width, height, width, height], np.float64)


def _size_hw(record: Record) -> tuple[int, int]:
    if isinstance(record.image, np.ndarray):
        height, width = record.image.shape[:2]
        return height, width
    return read_size_hw(record.image)
