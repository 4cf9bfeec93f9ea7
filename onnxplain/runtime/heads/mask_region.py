"""Parts of a mask over which its classes are explained: `region` of the contract, at the mask's own resolution."""

from __future__ import annotations

import cv2
import numpy as np

from onnxplain.contract import HeadSpec
from onnxplain.errors import OnnxplainError
from onnxplain.runtime.arrays import FloatArray
from onnxplain.runtime.box import Corners
from onnxplain.runtime.geometry import Frame

# From this probability on, a cell belongs to a class that is independent of the others.
_INDEPENDENT = 0.5


def region_of(box_xyxy: Corners, frame: Frame, head: HeadSpec) -> FloatArray:
    """A box in pixels of the original image as weights of the mask's cells, float32 (1, 1, h, w).

    Each weight is the share of the cell that the box covers. Raises OnnxplainError for a box that is empty, or outside
    the part of the image that the model sees.
    """
    x1, y1, x2, y2 = box_xyxy
    seen_x1, seen_y1, seen_x2, seen_y2 = frame.visible_xyxy
    cut = max(x1, seen_x1), max(y1, seen_y1), min(x2, seen_x2), min(y2, seen_y2)
    if not (x1 < x2 and y1 < y2 and cut[0] < cut[2] and cut[1] < cut[3]):
        height, width = frame.image_size_hw
        raise OnnxplainError(
            f"region: found {x1:g},{y1:g},{x2:g},{y2:g} for an image of {width}x{height}, of which the model sees "
            f"{seen_x1:g},{seen_y1:g},{seen_x2:g},{seen_y2:g}; expected a part of that, as X1,Y1,X2,Y2"
        )
    corners = frame.boxes_to_input([cut])[0].astype(np.float64)
    rows, columns = (
        _covered(corners[axis], corners[axis + 2], side, cells)
        for axis, side, cells in zip((1, 0), frame.input_size_hw, _size_hw(head), strict=True)
    )
    return np.asarray(rows[:, None] * columns, np.float32)[None, None]


def region_at(
    pixel_xy: tuple[float, float], entry: int, probabilities_chw: FloatArray, frame: Frame, head: HeadSpec
) -> FloatArray:
    """The connected cells of a class around a pixel of the original image, float32 (1, 1, h, w) of ones and zeros.

    Cells touch at sides and corners. A cell belongs to its most probable class; where classes are independent, to all
    whose probability is at least 0.5. Raises OnnxplainError for a pixel that the model does not see, or of another
    class.
    """
    x, y = pixel_xy
    x1, y1, x2, y2 = frame.visible_xyxy
    if not (x1 <= x < x2 and y1 <= y < y2):
        raise OnnxplainError(
            f"target: found the pixel {x:g},{y:g}, expected one that the model sees: from {x1:g},{y1:g} to "
            f"{x2:g},{y2:g}"
        )
    height, width = _size_hw(head)
    row, column = (
        int(np.clip((scale * (at + 0.5) + offset) * cells / side, 0, cells - 1))
        for scale, at, offset, cells, side in (
            (frame.scale_xy[1], y, frame.offset_xy[1], height, frame.input_size_hw[0]),
            (frame.scale_xy[0], x, frame.offset_xy[0], width, frame.input_size_hw[1]),
        )
    )
    independent = head.sigmoid
    inside = probabilities_chw[entry] >= _INDEPENDENT if independent else probabilities_chw.argmax(axis=0) == entry
    if not inside[row, column]:
        best = int(probabilities_chw[:, row, column].argmax())
        found = "none of its classes" if independent else head.label(best)
        raise OnnxplainError(
            f"target: found {found} at the pixel {x:g},{y:g}, expected {head.label(entry)} there: name another pixel"
        )
    _, parts = cv2.connectedComponents(inside.astype(np.uint8), connectivity=8)
    return np.asarray(parts == parts[row, column], np.float32)[None, None]


def _covered(start: float, stop: float, side: int, cells: int) -> FloatArray:
    """The share of each cell of an axis that lies between two positions in pixels of the input."""
    edges = np.arange(cells + 1) * (side / cells)
    overlap = np.minimum(edges[1:], stop) - np.maximum(edges[:-1], start)
    return np.asarray(overlap.clip(min=0) * (cells / side), np.float32)


def _size_hw(head: HeadSpec) -> tuple[int, int]:
    if head.map_size_hw is None:
        raise OnnxplainError(f"region: found the head {head.name} of kind {head.kind}, expected a mask")
    return head.map_size_hw
