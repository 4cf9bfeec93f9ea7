"""An image as a model's preprocessing takes it: the colours of a photo, or channels and values of the image's own."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from onnxplain.contract import Preprocessing
from onnxplain.errors import ImageError
from onnxplain.runtime.arrays import AnyArray, ByteArray
from onnxplain.runtime.image import DEFAULT_MAX_MEGAPIXELS, ImageLike, as_image, check_file, image_errors, one_line
from onnxplain.runtime.images.deep_image import check_deep_use, load_channels, load_values, scale_to_bytes
from onnxplain.runtime.images.encoded import Decoded, open_encoded

ARRAY_SUFFIX = ".npy"


def read_pixels(
    image: ImageLike, preprocessing: Preprocessing, max_megapixels: float = DEFAULT_MAX_MEGAPIXELS
) -> AnyArray:
    """Any image → (H, W, C), uint8 for pixels ``bytes``, float32 for ``native``.

    An image is a path, a PIL image, encoded bytes, an open file or an array.

    C is 3, in RGB order, for ``rgb``, ``bgr`` and ``gray`` (1 for native grey), else the number of channels. A path may
    also name an array, ``.npy``. An array (H, W) or (H, W, 1) is a grey image, for ``gray`` only. Other channels are
    first or last, whichever axis has their number. An array that this function returned is returned as it is.

    Raises ImageError for a file that cannot be read and for an array of another shape or type; for values of more
    than 8 bits in an array unless the depth or native pixels are stated; for floats unless the pixels are native.
    """
    opened = open_encoded(image)
    with image_errors(opened if isinstance(opened, str | os.PathLike) else "image"):
        return _read(opened, preprocessing, max_megapixels)


def _read(image: Decoded, preprocessing: Preprocessing, max_megapixels: float) -> AnyArray:
    if isinstance(image, str | os.PathLike) and Path(image).suffix.lower() == ARRAY_SUFFIX:
        image = _load_array(Path(image), max_megapixels)
    if isinstance(image, np.ndarray):
        return _of_array(image, preprocessing)
    if not preprocessing.is_colour:
        return _of_array(load_channels(image, preprocessing.channel_count, max_megapixels), preprocessing, file=True)
    if preprocessing.pixels == "bytes":
        if preprocessing.depth is None:
            pixels = as_image(image, max_megapixels)
            # Only now: the limit of pixels was checked, and the image is whole.
            check_deep_use(image)
            return pixels
        values = load_values(image, max_megapixels)
        return values if values.dtype == np.uint8 else _three(scale_to_bytes(values, preprocessing.depth))
    return _in_colour(load_values(image, max_megapixels).astype(np.float32), preprocessing)


def as_picture(pixels_hwc: AnyArray) -> ByteArray:
    """Pixels (H, W, C) as uint8 (H, W, 3) RGB, for pictures: three channels as colours, else their mean as grey.

    Values that are not bytes are stretched: the smallest becomes black, the largest white.
    """
    channels = pixels_hwc if pixels_hwc.shape[2] == 3 else pixels_hwc.mean(axis=2, keepdims=True, dtype=np.float64)
    if pixels_hwc.dtype != np.uint8:
        finite = np.nan_to_num(channels.astype(np.float64))
        low, high = float(finite.min()), float(finite.max())
        channels = (finite - low) * (255 / (high - low) if high > low else 0)
    return _three(np.rint(channels).astype(np.uint8))


def picture_of(image: ImageLike, size_hw: tuple[int, int]) -> ByteArray:
    """Any image that can be explained as uint8 (H, W, 3) RGB; an array of that size may have its channels first."""
    if isinstance(image, str | os.PathLike) and Path(image).suffix.lower() == ARRAY_SUFFIX:
        image = _load_array(Path(image), DEFAULT_MAX_MEGAPIXELS)
    if not isinstance(image, np.ndarray) or (image.dtype == np.uint8 and image.ndim == 3 and image.shape[2] == 3):
        return as_image(image)
    array = image[..., None] if image.ndim == 2 else image
    if array.ndim == 3 and array.shape[:2] != size_hw and array.shape[1:] == size_hw:
        array = array.transpose(1, 2, 0)
    if array.ndim != 3:
        raise ImageError(f"image: found an array of shape {image.shape}, expected (H, W, C), (C, H, W) or (H, W)")
    return as_picture(array)


def _load_array(path: Path, max_megapixels: float) -> npt.NDArray[Any]:
    check_file(path)
    try:
        # Mapped, not read: a header may promise any size.
        array = np.load(path, mmap_mode="r", allow_pickle=False)
    except (OSError, ValueError, EOFError, SyntaxError, ArithmeticError) as error:
        raise ImageError(
            f"{path}: found no array ({one_line(error)}), expected one that numpy.save wrote: check it"
        ) from error
    if not isinstance(array, np.ndarray):
        raise ImageError(f"{path}: found several arrays, expected one image: save it with numpy.save")
    if array.ndim >= 2 and array.nbytes > max_megapixels * 4e6:
        raise ImageError(
            f"{path}: found {array.nbytes / 1e6:.3g} MB, expected at most {max_megapixels:g} megapixels of 4 bytes: "
            "shrink the image, or raise the limit"
        )
    return np.array(array)


def _of_array(array: npt.NDArray[Any], preprocessing: Preprocessing, *, file: bool = False) -> AnyArray:
    """An array in the shape and type that `read_pixels` promises; `file`: 16 bits are what a file has."""
    unscaled = preprocessing.pixels == "bytes" and preprocessing.depth is None
    if unscaled and preprocessing.is_colour and not (preprocessing.channels == "gray" and _is_grey(array)):
        return as_image(array)
    pixels = np.ascontiguousarray(_channels_last(array, preprocessing))
    if pixels.size == 0 or pixels.dtype.kind not in "uif":
        raise ImageError(f"image: found an array {pixels.dtype} {array.shape}, expected numbers and at least one pixel")
    if preprocessing.pixels == "native":
        pixels = pixels.astype(np.float32)
        return _in_colour(pixels, preprocessing) if preprocessing.is_colour else pixels
    if pixels.dtype != np.uint8:
        if pixels.dtype != np.uint16 or (unscaled and not file):
            raise ImageError(
                f"image: found a {pixels.dtype} array, expected uint8: state how many bits it uses (depth=…, --depth "
                'BITS) if it is uint16, or that the model takes its values as they are (pixels="native", --pixels)'
            )
        pixels = scale_to_bytes(pixels, preprocessing.depth)
    return _three(pixels) if preprocessing.is_colour else pixels


def _channels_last(array: npt.NDArray[Any], preprocessing: Preprocessing) -> npt.NDArray[Any]:
    """(H, W, C) of an array whose channels may be first where they are not colours."""
    count = preprocessing.channel_count
    if preprocessing.is_colour:
        if preprocessing.channels == "gray" and _is_grey(array):
            return array.reshape(*array.shape[:2], 1)
        if array.ndim == 3 and array.shape[2] == 3:
            return array
        expected = "(H, W), (H, W, 1) or (H, W, 3)" if count == 1 else "(H, W, 3)"
        raise ImageError(
            f"image: found an array of shape {array.shape}, expected {expected} for {preprocessing.channels}"
        )
    first, last = (array.ndim == 3 and array.shape[axis] == count for axis in (0, 2))
    if first and last:
        raise ImageError(
            f"image: found an array of shape {array.shape}, which may be (C, H, W) or (H, W, C) with {count} channels: "
            "add a row or column of pixels, or cut one off"
        )
    if not (first or last):
        raise ImageError(
            f"image: found an array of shape {array.shape}, expected (C, H, W) or (H, W, C) with {count} channels"
        )
    return array.transpose(1, 2, 0) if first else array


def _is_grey(array: npt.NDArray[Any]) -> bool:
    return array.ndim == 2 or (array.ndim == 3 and array.shape[2] == 1)


def _in_colour(values_hwc: AnyArray, preprocessing: Preprocessing) -> AnyArray:
    """Native values (H, W, 1 or 3) as the model's colours: one channel for grey, else three."""
    if preprocessing.channels != "gray":
        return _three(values_hwc)
    if values_hwc.shape[2] == 1:
        return values_hwc
    luma: AnyArray = cv2.cvtColor(values_hwc, cv2.COLOR_RGB2GRAY)[..., None]
    return luma


def _three(pixels_hwc: AnyArray) -> AnyArray:
    return np.ascontiguousarray(np.repeat(pixels_hwc, 3, axis=2) if pixels_hwc.shape[2] == 1 else pixels_hwc)
