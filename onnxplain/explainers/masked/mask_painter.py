"""Make masked copies with numpy, directly in the memory that the model reads."""

from __future__ import annotations

from functools import cached_property
from typing import Any, Generic

import cv2
import numpy as np
import numpy.typing as npt

from onnxplain.explainers.masked.inpainting import inpaint
from onnxplain.explainers.masked.mask_form import AnyDraw, MaskForm
from onnxplain.explainers.masked.masked_image import MaskedImage
from onnxplain.runtime.arrays import FloatArray


class MaskPainter(Generic[AnyDraw]):
    """Paints masked copies of one image: ``copy = delta · mask + hidden``.

    Where masks are only 0 and 1, copies are cut out of the images that these two give: the same bits, several times
    faster, most of all in float16. Else it paints channel by channel, so the scratch memory (one mask and one channel)
    stays in the processor's first cache and the model's data stays in the other caches. Only one thread at a time may
    use an object.
    """

    def __init__(self, image: MaskedImage, form: MaskForm[AnyDraw]) -> None:
        self._image, self._brush, self._cutter = image, form.brush(), form.cutter()
        self._channel = np.empty(image.delta.shape[1:], np.float32)
        self._channels = np.empty(image.delta.shape, image.dtype)
        self._fills = bool(image.hidden.any())
        self._pixels = image.delta + image.hidden if image.inpainted else image.delta

    def paint(self, draw: AnyDraw, copies: npt.NDArray[Any]) -> None:
        """Write one copy per mask to `copies`, C-contiguous, (n, C, h, w) or (n, h, w, C) as in the image's layout."""
        masks = None if self._image.inpainted else self._cutter(draw)
        if masks is not None:
            everything, nothing = self._ends
            for stencil, copy in zip(masks, copies, strict=True):
                for shown, hidden, out in zip(everything, nothing, self._split(copy), strict=True):
                    np.copyto(out, hidden)
                    cv2.copyTo(shown, stencil, out)
            return
        for mask, copy in zip(self._brush(draw), copies, strict=True):
            self._paint_one(mask, copy)

    def _paint_one(self, mask: FloatArray, copy: npt.NDArray[Any]) -> None:
        if self._image.layout == "nchw":
            self._mix(mask, copy)
        else:
            self._mix(mask, self._channels)
            cv2.merge(tuple(self._channels), dst=copy)

    @cached_property
    def _ends(self) -> tuple[list[npt.NDArray[Any]], list[npt.NDArray[Any]]]:
        """The copies under masks of 1 and of 0, as `_split` gives them."""
        return self._planes(1), self._planes(0)

    def _planes(self, value: int) -> list[npt.NDArray[Any]]:
        channels, height, width = self._image.delta.shape
        shape = (channels, height, width) if self._image.layout == "nchw" else (height, width, channels)
        copy = np.empty(shape, self._image.dtype)
        self._paint_one(np.full((height, width), value, np.float32), copy)
        return self._split(copy)

    def _split(self, copy: npt.NDArray[Any]) -> list[npt.NDArray[Any]]:
        """A copy as OpenCV takes it: channel by channel, or in NHWC all at once. float16 as integers of its size."""
        numbers = copy.view(np.int16) if copy.dtype == np.float16 else copy
        return list(numbers) if self._image.layout == "nchw" else [numbers]

    def _mix(self, mask: FloatArray, channels: npt.NDArray[Any]) -> None:
        image = self._image
        inpainted = inpaint(self._pixels, image.hidden, mask) if image.inpainted else None
        for number, (delta, hidden, out) in enumerate(zip(image.delta, image.hidden, channels, strict=True)):
            channel = out if image.dtype == np.float32 else self._channel
            one_pass = image.dtype == np.uint8 and hidden.size == 1 and inpainted is None
            if inpainted is not None:
                np.copyto(channel, inpainted[number])
            else:
                np.multiply(delta, mask, out=channel)
                if self._fills and not one_pass:
                    np.add(channel, hidden, out=channel)
            if image.dtype == np.uint8:
                # |x + beta|, rounded half to even, as uint8; copies of a uint8 image are never negative.
                cv2.convertScaleAbs(channel, dst=out, beta=hidden.item() if one_pass else 0.0)
            elif image.dtype.kind == "i":
                np.copyto(out, np.rint(channel, out=channel), casting="unsafe")
            elif channel is not out:
                np.copyto(out, channel, casting="same_kind")
