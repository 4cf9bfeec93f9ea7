"""Make masked copies with numpy, directly in the memory that the model reads."""

from __future__ import annotations

from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from onnxplain.explainers.masked.masked_image import MaskedImage
from onnxplain.explainers.masked.masks import MaskDraw, MaskGeometry
from onnxplain.machine.small_products import LARGEST_PRODUCT
from onnxplain.runtime.arrays import FloatArray


class MaskPainter:
    """Paints masked copies of one image: ``mask = R · grid · Cᵀ``, ``copy = delta · mask + hidden``.

    It paints channel by channel, so the scratch memory (one mask and one channel) stays in the processor's first cache
    and the model's data stays in the other caches. Only one thread at a time may use an object.
    """

    def __init__(self, image: MaskedImage, geometry: MaskGeometry) -> None:
        self._image, self._rows = image, geometry.rows
        self._columns = np.ascontiguousarray(geometry.columns.T)
        size_hw = image.delta.shape[1:]
        self._mask, self._channel = np.empty(size_hw, np.float32), np.empty(size_hw, np.float32)
        self._channels = np.empty(image.delta.shape, image.dtype)
        self._fills = bool(image.hidden.any())

    def paint(self, draw: MaskDraw, copies: npt.NDArray[Any]) -> None:
        """Write one copy per mask to `copies`, C-contiguous, (n, C, h, w) or (n, h, w, C) as in the image's layout."""
        height, width = self._image.delta.shape[1:]
        for grid, (y, x), copy in zip(draw.grids.astype(np.float32), draw.shifts_yx.tolist(), copies, strict=True):
            strip = multiply(grid, self._columns[:, x : x + width])
            multiply(self._rows[y : y + height], strip, self._mask)
            if self._image.layout == "nchw":
                self._mix(copy)
            else:
                self._mix(self._channels)
                cv2.merge(tuple(self._channels), dst=copy)

    def _mix(self, channels: npt.NDArray[Any]) -> None:
        image = self._image
        for delta, hidden, out in zip(image.delta, image.hidden, channels, strict=True):
            channel = out if image.dtype == np.float32 else self._channel
            np.multiply(delta, self._mask, out=channel)
            one_pass = image.dtype == np.uint8 and hidden.size == 1
            if self._fills and not one_pass:
                np.add(channel, hidden, out=channel)
            if image.dtype == np.uint8:
                # |x + beta|, rounded half to even, as uint8; copies of a uint8 image are never negative.
                cv2.convertScaleAbs(channel, dst=out, beta=hidden.item() if one_pass else 0.0)
            elif image.dtype.kind == "i":
                np.copyto(out, np.rint(channel, out=channel), casting="unsafe")
            elif channel is not out:
                np.copyto(out, channel, casting="same_kind")


def multiply(left: FloatArray, right: FloatArray, out: FloatArray | None = None) -> FloatArray:
    """`small_product` of two matrices, split by rows, with an overhead small enough for the innermost loop."""
    product = np.empty((len(left), right.shape[1]), np.float32) if out is None else out
    step = max(1, LARGEST_PRODUCT // right.size)
    for start in range(0, len(left), step):
        np.matmul(left[start : start + step], right, out=product[start : start + step])
    return product
