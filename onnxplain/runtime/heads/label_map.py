"""The class of each pixel of an image, from the probabilities of a mask at the model's own resolution."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from onnxplain.runtime.arrays import FloatArray
from onnxplain.runtime.geometry import Frame

NO_CLASS = -1
# From this probability on, a pixel belongs to a class that is independent of the others.
_INDEPENDENT = 0.5
# Numbers that are enlarged at a time: classes × rows × columns.
_NUMBERS_AT_ONCE = 1 << 23


@dataclass(frozen=True, eq=False)
class LabelMap:
    """`labels`: int16 (H, W), −1 for none. `shares`: float32 (C,), of the pixels that the model sees."""

    labels: npt.NDArray[np.int16]
    shares: FloatArray


@dataclass(frozen=True)
class _Axis:
    """Along one axis: which two cells lie around each pixel that the model sees, and how near the second one is."""

    start: int
    stop: int
    left: npt.NDArray[np.int64]
    right: npt.NDArray[np.int64]
    share: FloatArray


def draw_label_map(probabilities_chw: FloatArray, frame: Frame, *, independent: bool = False) -> LabelMap:
    """The label map of an image. The mask is spread over the model's input, and enlarged bilinearly.

    `independent`: each class has its own probability, and a pixel may have none.
    """
    classes, height, width = probabilities_chw.shape
    x1, y1, x2, y2 = frame.visible_xyxy
    rows = _axis((y1, y2), frame.scale_xy[1], frame.offset_xy[1], height / frame.input_size_hw[0], height)
    columns = _axis((x1, x2), frame.scale_xy[0], frame.offset_xy[0], width / frame.input_size_hw[1], width)
    labels = np.full(frame.image_size_hw, NO_CLASS, np.int16)
    counts = np.zeros(classes, np.int64)
    at_once = max(1, _NUMBERS_AT_ONCE // (classes * max(1, columns.stop - columns.start)))
    for first in range(0, rows.stop - rows.start, at_once):
        part = slice(first, first + at_once)
        strip = _blended(probabilities_chw, rows.left[part], rows.right[part], rows.share[part, None], 1)
        strip = _blended(strip, columns.left, columns.right, columns.share, 2)
        found = strip.argmax(axis=0).astype(np.int16)
        if independent:
            reached = strip >= _INDEPENDENT
            counts += reached.sum(axis=(1, 2))
            found[~reached.any(axis=0)] = NO_CLASS
        else:
            counts += np.bincount(found.ravel(), minlength=classes)
        top = rows.start + first
        labels[top : top + len(found), columns.start : columns.stop] = found
    seen = (rows.stop - rows.start) * (columns.stop - columns.start)
    return LabelMap(labels, (counts / max(seen, 1)).astype(np.float32))


def _axis(visible: tuple[float, float], scale: float, offset: float, per_pixel: float, cells: int) -> _Axis:
    """`scale`, `offset`: from pixels of the image to those of the input. `per_pixel`: cells per pixel of the input."""
    start, stop = math.floor(visible[0]), math.ceil(visible[1])
    position = (scale * (np.arange(start, stop) + 0.5) + offset) * per_pixel - 0.5
    position = np.clip(position, 0, cells - 1)
    left = np.minimum(position.astype(np.int64), max(cells - 2, 0))
    return _Axis(start, stop, left, np.minimum(left + 1, cells - 1), (position - left).astype(np.float32))


def _blended(
    maps: FloatArray, left: npt.NDArray[np.int64], right: npt.NDArray[np.int64], share: FloatArray, axis: int
) -> FloatArray:
    near, far = maps.take(left, axis=axis), maps.take(right, axis=axis)
    blended: FloatArray = near + (far - near) * share
    return blended
