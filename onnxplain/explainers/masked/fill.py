"""The fill of masked pixels: a colour, the blurred image, another image, or what is inpainted from the other pixels."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, TypeAlias, Union

import cv2
import numpy as np
import numpy.typing as npt

from onnxplain.contract.expected import refuse
from onnxplain.errors import OnnxplainError
from onnxplain.files.existing import is_existing_file
from onnxplain.runtime.arrays import AnyArray

if TYPE_CHECKING:
    from onnxplain.runtime.image import ImageLike

FillName: TypeAlias = Literal["mean", "blur", "inpaint"]
# A name, a colour, or another image: a path, a PIL image or an array (H, W, C).
Fill: TypeAlias = Union[FillName, tuple[float, float, float], "ImageLike"]

_FILL_NAMES = ("mean", "blur", "inpaint")
_EXPECTED = (
    '"mean", "blur", "inpaint", a colour (r, g, b) from 0 to 255, or an image (a file that exists, a PIL image, an '
    "array of at least one pixel)"
)
# The blur's standard deviation, as a share of the shorter side of the model's input.
BLUR_SHARE = 1 / 20


def check_fill(fill: Fill, *, smooth: str | None = None) -> None:
    """Raise OnnxplainError for what is no fill.

    `smooth`: the name of a method whose masks are smooth; nothing is wholly hidden or shown there, so "inpaint" is
    refused.
    """
    if isinstance(fill, str) and fill in _FILL_NAMES:
        if fill == "inpaint" and smooth is not None:
            raise OnnxplainError(
                f'fill: found "inpaint" for {smooth}, whose masks are smooth, expected "mean", "blur", a colour or an '
                "image: choose one of these"
            )
        return
    if not (is_fill_image(fill) or _is_colour(fill)):
        refuse("fill", fill, _EXPECTED)


def is_fill_image(fill: Fill) -> bool:
    """Whether a fill is another image."""
    from PIL import Image

    if isinstance(fill, str | Path):
        return fill not in _FILL_NAMES and is_existing_file(fill)
    return isinstance(fill, Image.Image) or (isinstance(fill, np.ndarray) and fill.ndim == 3 and fill.size > 0)


def is_inpainted(fill: Fill) -> bool:
    """Whether hidden pixels are filled in from those that show."""
    return isinstance(fill, str) and fill == "inpaint"


def _is_colour(fill: Any) -> bool:
    if not isinstance(fill, tuple | list | np.ndarray) or len(fill) != 3:
        return False
    numbers = [isinstance(value, int | float | np.number) and not isinstance(value, bool) for value in fill]
    return all(numbers) and all(0 <= value <= 255 for value in fill)


def fill_pixels(fill: Fill, image_hwc: AnyArray, warped_hwc: AnyArray) -> npt.NDArray[np.float64]:
    """The fill of masked pixels, float64, in the image's channels and units.

    Its shape is (1, 1, C) for a colour, (h, w, C) for a blurred image. Not for another image, which is read as the
    photo is.

    "mean": the mean colour of the original image, also of "inpaint". "blur": the warped image after a Gaussian blur.
    Its standard deviation is a twentieth of the shorter side; the kernel is cut off at three of these, and edges are
    reflected.
    """
    if isinstance(fill, str) and fill == "blur":
        sigma = BLUR_SHARE * min(warped_hwc.shape[:2])
        blurred = cv2.GaussianBlur(warped_hwc, (0, 0), sigma, borderType=cv2.BORDER_REFLECT_101)
        return blurred.reshape(warped_hwc.shape).astype(np.float64)
    if isinstance(fill, str):
        mean: npt.NDArray[np.float64] = image_hwc.mean(axis=(0, 1), keepdims=True, dtype=np.float64)
        return mean
    colour = np.asarray(fill, np.float64)
    if image_hwc.shape[2] != len(colour):
        raise OnnxplainError(
            f'fill: found the colour {fill!r} for an image of {image_hwc.shape[2]} channels, expected "mean" or "blur"'
        )
    return colour.reshape(1, 1, 3)
