"""A copy of an image that is mirrored, zoomed in (cropped) or zoomed out (padded), and the way back for its map."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from onnxplain.runtime.arrays import AnyArray, FloatArray
from onnxplain.runtime.geometry import cell_matrix, spans_of
from onnxplain.runtime.preprocess import as_type_of

if TYPE_CHECKING:
    from onnxplain.contract import MapFrame
    from onnxplain.runtime.box import Corners
    from onnxplain.runtime.geometry import Frame

# Positions are rounded to so many decimals of a pixel of the input, so that a mirrored grid meets the grid itself.
_DECIMALS = 6


@dataclass(frozen=True)
class MovedCopy:
    """A window of an image around its centre, mirrored left to right or not.

    `start_hw`: the window's first row and column in the image, negative where it begins outside; `size_hw`: its sides.
    A model's input is filled by the window instead of the image, so a smaller window is a larger scale. All are whole
    pixels, so no pixel is interpolated.
    """

    scale: float
    mirrored: bool
    start_hw: tuple[int, int]
    size_hw: tuple[int, int]

    @classmethod
    def of(cls, image_size_hw: tuple[int, int], scale: float = 1.0, *, mirrored: bool = False) -> MovedCopy:
        """The copy of an image of this size at about this scale: exactly image / window, at least one pixel."""
        margins = [max(round((side / scale - side) / 2), -((side - 1) // 2)) for side in image_size_hw]
        height, width = (side + 2 * margin for side, margin in zip(image_size_hw, margins, strict=True))
        return cls(scale, mirrored, (-margins[0], -margins[1]), (height, width))

    @property
    def name(self) -> str:
        """In words, such as ``mirrored, scale 0.8``; the image itself is ``image``."""
        words = ["mirrored"] * self.mirrored + [f"scale {self.scale:g}"] * (self.scale != 1)
        return ", ".join(words) or "image"

    def cut(self, values: AnyArray, border: AnyArray) -> AnyArray:
        """The window of an array (H, W) or (H, W, C), with `border` outside the image."""
        copy = np.empty((*self.size_hw, *values.shape[2:]), values.dtype)
        copy[...] = border
        inner, outer = [], []
        for start, size, side in zip(self.start_hw, self.size_hw, values.shape, strict=False):
            inner.append(slice(max(start, 0), min(start + size, side)))
            outer.append(slice(inner[-1].start - start, inner[-1].stop - start))
        copy[tuple(outer)] = values[tuple(inner)]
        return np.ascontiguousarray(copy[:, ::-1]) if self.mirrored else copy

    def cut_image(self, pixels_hwc: AnyArray) -> AnyArray:
        """The window of an image, with its mean colour outside."""
        return self.cut(pixels_hwc, as_type_of(pixels_hwc, pixels_hwc.mean(axis=(0, 1), dtype=np.float64)))

    def cut_labels(self, labels_hw: AnyArray) -> AnyArray:
        """The window of a map of whole numbers (H, W), with a label of its own outside."""
        labels = labels_hw.astype(np.int64)
        return self.cut(labels, labels.max() + 1)

    def move_pixel(self, x: float, y: float) -> tuple[float, float]:
        """The pixel of the copy that shows this pixel of the image."""
        x, y = x - self.start_hw[1], y - self.start_hw[0]
        return (self.size_hw[1] - 1 - x if self.mirrored else x), y

    def move_box(self, box_xyxy: Corners) -> Corners:
        """The box in the copy that shows this box of the image."""
        (top, left), width = self.start_hw, self.size_hw[1]
        x1, y1, x2, y2 = box_xyxy[0] - left, box_xyxy[1] - top, box_xyxy[2] - left, box_xyxy[3] - top
        return (width - x2, y1, width - x1, y2) if self.mirrored else (x1, y1, x2, y2)

    def bring_back(self, map_hw: FloatArray, own: PlacedGrid, onto: PlacedGrid) -> tuple[FloatArray, FloatArray]:
        """A map of the copy on a grid over the image, and where it says something: 1, else 0. Both float32 (h, w).

        `own`: where the map lies in the copy. `onto`: the grid, where it lies in the image. Bilinear between the
        centres of the map's cells, in one step, through the exact geometry of both.
        """
        rows, columns = (self._axis_matrix(axis, own, onto) for axis in (1, 0))
        seen = np.outer(rows.any(axis=1), columns.any(axis=1)).astype(np.float32)
        return np.asarray(rows @ map_hw @ columns.T, np.float32), seen

    def _axis_matrix(self, axis: int, own: PlacedGrid, onto: PlacedGrid) -> FloatArray:
        """Matrix (cells of the grid, cells of the map) along an axis (0: x)."""
        cells, start, size = onto.size_hw[1 - axis], self.start_hw[1 - axis], self.size_hw[1 - axis]
        # From cells of the grid to the model's input, to the image, to the copy; then to the copy's input.
        per_cell, first = onto.to_input(axis)
        to_image = 1 / onto.frame.scale_xy[axis]
        mirrored = self.mirrored and axis == 0
        if mirrored:
            # The grid is counted from its end, so that positions in the copy grow.
            at = size + start - (first + per_cell * cells - onto.frame.offset_xy[axis]) * to_image
        else:
            at = (first - onto.frame.offset_xy[axis]) * to_image - start
        scale = per_cell * to_image * own.frame.scale_xy[axis]
        offset = round(at * own.frame.scale_xy[axis] + own.frame.offset_xy[axis], _DECIMALS)
        own_side, span = own.frame.input_size_hw[1 - axis], spans_of(own.map_frame)[1 - axis]
        matrix = cell_matrix(cells, (scale, offset), own.size_hw[1 - axis], own_side, span)
        edges = [0.0, float(own_side)]
        if start > 0:
            # Beside the window, where more of the image lies, the copy's input shows a border or nothing.
            seen = own.frame.visible_span(axis)
            edges = [own.frame.scale_xy[axis] * edge + own.frame.offset_xy[axis] for edge in seen]
        begin, end = (round((edge - offset) / scale, _DECIMALS) for edge in edges)
        matrix[: max(math.floor(begin), 0)] = 0
        matrix[max(math.ceil(end), 0) :] = 0
        return matrix[::-1] if mirrored else matrix


@dataclass(frozen=True)
class PlacedGrid:
    """Cells over a model's input: `frame`: where the input lies in an image or a copy; `map_frame`: None: spread."""

    size_hw: tuple[int, ...]
    frame: Frame
    map_frame: MapFrame | None = None

    def to_input(self, axis: int) -> tuple[float, float]:
        """Pixels of the input per cell along an axis (0: x), and where the first cell begins."""
        span = spans_of(self.map_frame)[1 - axis]
        if span is not None:
            return span.scale, span.offset
        return self.frame.input_size_hw[1 - axis] / self.size_hw[1 - axis], 0.0
