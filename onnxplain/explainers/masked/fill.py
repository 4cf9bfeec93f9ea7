"""The fill of masked pixels: a colour, or the blurred image."""

from __future__ import annotations

from typing import Literal, TypeAlias

import cv2
import numpy as np
import numpy.typing as npt

from onnxplain.errors import OnnxplainError
from onnxplain.runtime.arrays import AnyArray

Fill: TypeAlias = Literal["mean", "blur"] | tuple[float, float, float]

_FILL_NAMES = ("mean", "blur")
# The blur's standard deviation, as a share of the shorter side of the model's input.
BLUR_SHARE = 1 / 20


def check_fill(fill: Fill) -> None:
    """Raise OnnxplainError unless `fill` is "mean", "blur" or three numbers from 0 to 255."""
    if isinstance(fill, str):
        valid = fill in _FILL_NAMES
    else:
        valid = np.shape(fill) == (3,) and all(0 <= value <= 255 for value in fill)
    if not valid:
        raise OnnxplainError(f'fill: found {fill!r}, expected "mean", "blur" or a colour (r, g, b) from 0 to 255')


def fill_pixels(fill: Fill, image_hwc: AnyArray, warped_hwc: AnyArray) -> npt.NDArray[np.float64]:
    """The fill of masked pixels, float64, in the image's channels and units.

    Its shape is (1, 1, C) for a colour, (h, w, C) for a blurred image.

    "mean": the mean colour of the original image. "blur": the warped image after a Gaussian blur. Its standard
    deviation is a twentieth of the shorter side; the kernel is cut off at three of these, and edges are reflected.
    """
    if fill == "blur":
        sigma = BLUR_SHARE * min(warped_hwc.shape[:2])
        blurred = cv2.GaussianBlur(warped_hwc, (0, 0), sigma, borderType=cv2.BORDER_REFLECT_101)
        return blurred.reshape(warped_hwc.shape).astype(np.float64)
    if fill == "mean":
        mean: npt.NDArray[np.float64] = image_hwc.mean(axis=(0, 1), keepdims=True, dtype=np.float64)
        return mean
    if image_hwc.shape[2] != len(fill):
        raise OnnxplainError(
            f'fill: found the colour {fill!r} for an image of {image_hwc.shape[2]} channels, expected "mean" or "blur"'
        )
    return np.asarray(fill, np.float64).reshape(1, 1, 3)
