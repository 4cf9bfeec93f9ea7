"""Image files whose pixels are not three bytes: 16 bits, floats, other numbers of channels."""

from __future__ import annotations

import os
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any, TypeAlias

import cv2
import numpy as np
from PIL import Image

from onnxplain.contract.preprocessing import MAX_DEPTH
from onnxplain.errors import ImageError, ImageWarning
from onnxplain.runtime.arrays import AnyArray, ByteArray
from onnxplain.runtime.image import as_image, bands, check_file, check_size, opened, orientation_of, upright
from onnxplain.runtime.images.tiff import read_tiff

# A 16-bit image whose largest value is below this share of the range probably uses fewer bits.
_LEAST_SHARE = 1 / 8
ImageFile: TypeAlias = str | os.PathLike[str] | Image.Image

_DEEP_SUFFIXES = (".png", ".tif", ".tiff")
_TIFF_SUFFIXES = (".tif", ".tiff")
# Pillow's modes whose bands are channels, by their number.
_BANDS = {2: ("LA",), 4: ("RGBA", "CMYK", "RGBX")}


def load_values(image: ImageFile, max_megapixels: float) -> AnyArray:
    """The values of an image file or PIL image as they are, (H, W, 1 or 3): uint8, uint16 or float32, RGB order.

    Images of 8 bits are read as `as_image` reads them. Raises ImageError as it does.
    """
    if isinstance(image, Image.Image):
        if image.mode == "F" or image.mode.startswith("I"):
            check_size(image, "PIL image", max_megapixels)
            return _grey(image)
        return as_image(image, max_megapixels)
    path = Path(image)
    check_file(path)
    with opened(path) as header:
        check_size(header, str(path), max_megapixels)
        mode, orientation = header.mode, orientation_of(header)
    if mode == "F" or mode.startswith("I"):
        with opened(path) as file:
            return _grey(file)
    if path.suffix.lower() in _DEEP_SUFFIXES and mode in ("RGB", "RGBA"):
        values = _decode(path)
        if values is not None and values.dtype == np.uint16 and values.ndim == 3 and values.shape[2] >= 3:
            return upright(values[..., 2::-1], orientation)
    return as_image(path, max_megapixels)


def load_channels(image: ImageFile, count: int, max_megapixels: float) -> AnyArray:
    """An image with `count` channels of its own, (H, W, C) or (C, H, W): TIFF, or RGBA, CMYK and grey with alpha.

    TIFF: several samples per pixel, or one page per channel. Raises ImageError where the file has other channels.
    """
    name = "PIL image" if isinstance(image, Image.Image) else str(image)
    if not isinstance(image, Image.Image):
        path = Path(image)
        check_file(path)
        if path.suffix.lower() in _TIFF_SUFFIXES:
            return read_tiff(path, count, max_megapixels)
        with opened(path) as file:
            check_size(file, name, max_megapixels)
            return _bands(file, count, name)
    return _bands(image, count, name)


def scale_to_bytes(values: AnyArray, depth: int | None) -> ByteArray:
    """Values of up to 16 bits, scaled to 0–255: the largest of `depth` bits becomes 255; bytes stay as they are.

    Raises ImageError for a value that does not fit the depth. Warns as `check_deep_use` where no depth is stated.
    """
    if values.dtype == np.uint8:
        return values
    if values.dtype.kind == "f":
        raise ImageError(
            "image: found floats or values of more than 16 bits, expected 8 or 16 bits: state that the model takes its "
            'values as they are (pixels="native", --pixels), or convert it'
        )
    largest, full = int(values.max()), 2 ** (depth or MAX_DEPTH) - 1
    if int(values.min()) < 0 or largest > full:
        raise ImageError(
            f"image: found the value {largest}, expected 0 to {full} for {depth or MAX_DEPTH} bits: check --depth"
        )
    if depth is None:
        _warn_shallow("image", largest)
    scaled = np.empty(values.shape, np.uint8)
    for rows in bands(*values.shape[:2]):
        scaled[rows] = (values[rows].astype(np.int64) * 255 + full // 2) // full
    return scaled


def check_deep_use(image: ImageFile) -> None:
    """Warn (ImageWarning) if an image of 16 bits uses less than an eighth of its range: it is nearly black then."""
    if isinstance(image, Image.Image):
        if image.mode.startswith("I"):
            _warn_shallow("PIL image", int(np.asarray(image).max(initial=0)))
        return
    path = Path(image)
    if path.suffix.lower() not in _DEEP_SUFFIXES or not path.is_file() or not _has_16_bits(path):
        return
    values = _decode(path)
    if values is not None and values.dtype == np.uint16:
        _warn_shallow(str(path), int(values.max(initial=0)))


def _decode(path: Path) -> AnyArray | None:
    """What OpenCV reads, BGR; None if it cannot. Not `imread`: it takes no names that are not UTF-8."""
    return cv2.imdecode(np.asarray(np.memmap(path, np.uint8, "r")), cv2.IMREAD_UNCHANGED)


def _warn_shallow(name: str, largest: int) -> None:
    if 0 < largest < 2**MAX_DEPTH * _LEAST_SHARE:
        warnings.warn(
            f"{name}: found values up to {largest} in an image of 16 bits, so it is nearly black for the model: if it "
            f"uses {largest.bit_length()} bits, give --depth {largest.bit_length()} (depth=…)",
            ImageWarning,
            stacklevel=3,
        )


def _has_16_bits(path: Path) -> bool:
    """Whether the header says so; TIFF files are asked through Pillow."""
    with path.open("rb") as file:
        start = file.read(26)
    if start.startswith(b"\x89PNG"):
        return len(start) > 24 and start[24] == 16
    try:
        with opened(path) as image:
            return image.mode.startswith("I;16") or tuple(_bits(image))[:3] == (16, 16, 16)
    except ImageError:
        return False


def _bits(image: Image.Image) -> Sequence[int]:
    bits: Any = getattr(image, "tag_v2", {}).get(258, ())
    return bits if isinstance(bits, tuple) else (bits,)


def _grey(image: Image.Image) -> AnyArray:
    """A grey image of deep values, upright, (H, W, 1): uint16 where they are of 16 bits, else float32."""
    values = np.asarray(image)
    fits = values.dtype.kind in "iu" and not (values.size and (values.min() < 0 or values.max() >= 2**MAX_DEPTH))
    return upright(values.astype(np.uint16 if fits else np.float32)[..., None], orientation_of(image))


def _bands(image: Image.Image, count: int, name: str) -> AnyArray:
    if image.mode not in _BANDS.get(count, ()):
        raise ImageError(
            f"{name}: found an image of mode {image.mode}, expected {count} channels: save it as a NumPy array (.npy) "
            "of shape (H, W, C) or (C, H, W), or as TIFF"
        )
    return np.asarray(image)
