"""Convert the box head's four numbers, in any format, to corners in pixels of the input or of the image."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from onnxplain.contract import BoxSpec
from onnxplain.errors import OnnxplainError
from onnxplain.runtime.arrays import FloatArray
from onnxplain.runtime.geometry import Frame

Corners = tuple[float, float, float, float]


def decode_boxes(raw_boxes: npt.NDArray[np.generic], spec: BoxSpec, input_size_hw: tuple[int, int]) -> FloatArray:
    """Raw boxes (N, 4) of the model → float32 (N, 4) x1, y1, x2, y2 in pixels of its input.

    ``cxcywh`` is the centre and the size, ``xywh`` the upper left corner and the size. ``normalized`` values are
    shares of the input's width and height. If a width or height is negative (a regression may return that), the
    corners are swapped, so x1 ≤ x2 and y1 ≤ y2 always. Boxes are not clipped.
    """
    boxes = raw_boxes.reshape(len(raw_boxes), -1).astype(np.float64)
    if boxes.shape[1] != 4:
        raise OnnxplainError(f"box output: found shape {raw_boxes.shape}, expected (N, 4)")
    first, second = boxes[:, :2], boxes[:, 2:]
    if spec.format == "cxcywh":
        first, second = first - second / 2, first + second / 2
    elif spec.format == "xywh":
        first, second = first, first + second
    corners = np.hstack([np.minimum(first, second), np.maximum(first, second)])
    if spec.units == "normalized":
        height, width = input_size_hw
        corners *= [width, height, width, height]
    return corners.astype(np.float32)


def place_boxes(boxes_xyxy: FloatArray, frames: Sequence[Frame]) -> list[Corners]:
    """Boxes (N, 4) in pixels of the input, one per frame → corners in pixels of each original image."""
    placed = [frame.boxes_to_image(box[None])[0] for frame, box in zip(frames, boxes_xyxy, strict=True)]
    return [(float(x1), float(y1), float(x2), float(y2)) for x1, y1, x2, y2 in placed]


def pairwise_iou(boxes_xyxy: FloatArray, others_xyxy: FloatArray) -> FloatArray:
    """Intersection over union of each row with each row: float32 (T, 4) and (M, 4), xyxy → float32 (T, M) in [0, 1].

    A box without area, or with a corner that is NaN, overlaps nothing.
    """
    x1, y1, x2, y2 = np.ascontiguousarray(others_xyxy.T)
    left, top, right, bottom = boxes_xyxy.T[:, :, None]
    # A corner may be infinite or NaN: then so is the quotient, as it is for two boxes without area.
    with np.errstate(over="ignore", invalid="ignore", divide="ignore"):
        shared = (np.minimum(x2, right) - np.maximum(x1, left)).clip(0)
        shared *= (np.minimum(y2, bottom) - np.maximum(y1, top)).clip(0)
        areas = (x2 - x1).clip(0) * (y2 - y1).clip(0)
        union = (right - left).clip(0) * (bottom - top).clip(0) + areas - shared
        overlap = shared / union
    # fmax takes the number where the other is NaN.
    result: FloatArray = np.fmin(np.fmax(overlap, np.float32(0)), np.float32(1))
    return result


def paired_iou(boxes_xyxy: npt.NDArray[np.floating], others_xyxy: npt.NDArray[np.floating]) -> npt.NDArray[np.float32]:
    """Intersection over union of row i with row i: two (N, 4) xyxy arrays → float32 (N,) in [0, 1].

    A box without area (x2 <= x1 or y2 <= y1) overlaps nothing.
    """
    boxes, others = np.asarray(boxes_xyxy, np.float64), np.asarray(others_xyxy, np.float64)
    corners = np.minimum(boxes[:, 2:], others[:, 2:]) - np.maximum(boxes[:, :2], others[:, :2])
    intersection = corners.clip(min=0).prod(axis=1)
    areas = [(sides[:, 2:] - sides[:, :2]).clip(min=0).prod(axis=1) for sides in (boxes, others)]
    union = areas[0] + areas[1] - intersection
    overlap = np.divide(intersection, union, out=np.zeros_like(union), where=union > 0)
    result: npt.NDArray[np.float32] = overlap.astype(np.float32)
    return result
