"""Read image files of any format as uint8 (H, W, 3) RGB arrays, or raise one clear error."""

from __future__ import annotations

import os
import threading
import warnings
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TypeGuard

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageChops, UnidentifiedImageError

from onnxplain.contract.arguments import checked
from onnxplain.errors import ImageError, OnnxplainError
from onnxplain.files.special import special_kind
from onnxplain.runtime.arrays import AnyArray, ByteArray
from onnxplain.runtime.images.encoded import ENCODED, Decoded, Encoded, open_encoded

ImageLike = Decoded | Encoded

_ONE_IMAGE = (str, os.PathLike, Image.Image, np.ndarray, *ENCODED)

DEFAULT_MAX_MEGAPIXELS = 50.0
# Pixels of these formats take more memory to decode than a JPEG's: about so many times.
_WEIGHTS = {"WEBP": 2.0, "JPEG2000": 2.0, "AVIF": 1.5}
_BAND_PIXELS = 2**20
IMAGE_SUFFIXES = (".bmp", ".gif", ".jpeg", ".jpg", ".jp2", ".png", ".pgm", ".ppm", ".tif", ".tiff", ".webp")
"""Lower-case suffixes of the images in a folder. A file given by its name may have any suffix."""

_EXIF_ORIENTATION = 0x0112

# Pillow's size limit and Python's warning filters are global. Only one reader at a time may change them: two could
# restore each other's values.
_PILLOW_SETTINGS = threading.Lock()


@checked
def load_image(path: str | os.PathLike[str], max_megapixels: float = DEFAULT_MAX_MEGAPIXELS) -> ByteArray:
    """Read an image file as uint8 (H, W, 3) RGB.

    EXIF orientation is applied. Greyscale, 1-bit, palette and CMYK images become RGB. Transparent pixels are blended
    with white. 16-bit pixels are scaled to 8 bits. Only the first frame is read. The size is checked in the header,
    before decoding. Raises ImageError for a file that is missing, empty, truncated, not an image, or larger than
    `max_megapixels`.
    """
    path = Path(path)
    check_file(path)
    with opened(path) as image:
        return _to_rgb(image, str(path), max_megapixels)


@contextmanager
def opened(path: Path) -> Iterator[Image.Image]:
    """The file as Pillow opens it, with its limits off and its warnings silent; raises ImageError as `load_image`."""
    with _pillow_settings(), image_errors(path):
        try:
            found = Image.open(path)
        except UnidentifiedImageError:
            raise ImageError(
                f"{path}: found no image ({describe_start(path)}), expected JPEG, PNG or another format "
                "that Pillow reads: check the file"
            ) from None
        except OSError as error:
            raise ImageError(
                f"{path}: found a file that cannot be opened ({one_line(error)}), expected an image: check the file"
            ) from error
        with found:
            yield found


@contextmanager
def image_errors(name: object) -> Iterator[None]:
    """Whatever reading an image raises becomes the ImageError of this image. Decoders raise errors of any kind."""
    try:
        yield
    except (OnnxplainError, Warning):
        raise
    except MemoryError as error:
        raise ImageError(
            f"{name}: found an image that needs more memory than there is, expected a smaller one: shrink it"
        ) from error
    except Exception as error:
        raise ImageError(
            f"{name}: found a damaged or truncated image ({one_line(error)}), expected a complete one: download it "
            "again"
        ) from error


def as_image(image: ImageLike, max_megapixels: float = DEFAULT_MAX_MEGAPIXELS) -> ByteArray:
    """A path, a PIL image, encoded bytes, an open file or a uint8 RGB array (H, W, 3) → uint8 (H, W, 3) RGB.

    PIL images are treated like files, including EXIF orientation. Raises ImageError for anything else, also for arrays
    of another type or shape. (A BGR array cannot be distinguished from an RGB array.)
    """
    image = open_encoded(image)
    if isinstance(image, np.ndarray):
        return _check_array(image)
    if isinstance(image, Image.Image):
        with _pillow_settings():
            return _to_rgb(image, getattr(image, "filename", "") or "PIL image", max_megapixels)
    if isinstance(image, str | os.PathLike):
        return load_image(image, max_megapixels)
    raise ImageError(
        f"image: found {type(image).__name__}, expected a path, a PIL image or a uint8 RGB array (H, W, 3)"
    )


def is_image(images: ImageLike | Iterable[ImageLike]) -> TypeGuard[ImageLike]:
    """Whether this is one image: a path, a PIL image or an array. Anything else counts as several images."""
    return isinstance(images, _ONE_IMAGE)


def list_images(images: ImageLike | Iterable[ImageLike]) -> list[ImageLike]:
    """One image, or any iterable of images, as a list. Raises ImageError if there is no image."""
    if isinstance(images, _ONE_IMAGE):
        return [images]
    try:
        listed = list(images)
    except TypeError:
        raise ImageError(
            f"images: found {type(images).__name__}, expected an image or a list of images: paths, PIL images or uint8 "
            "RGB arrays (H, W, 3)"
        ) from None
    if not listed:
        raise ImageError("images: found an empty list, expected at least one image")
    return listed


def check_file(path: Path) -> None:
    """Raise ImageError for a path that names no file, a folder, an empty file, a pipe, a socket or a device."""
    try:
        exists = path.exists()
    except (OSError, ValueError) as error:  # too long for a name, or a zero byte in it
        raise ImageError(
            f"{path}: found no file name ({one_line(error)}), expected an image: check the path"
        ) from error
    if not exists:
        raise ImageError(f"{path}: found no such file, expected an image: check the path")
    if path.is_dir():
        raise ImageError(f"{path}: found a folder, expected an image file: name a file in it")
    if kind := special_kind(path):
        raise ImageError(f"{path}: found {kind}, expected an image file: save the image as a file")
    if path.stat().st_size == 0:
        raise ImageError(f"{path}: found an empty file (0 bytes), expected an image: download it again")


def _check_array(array: npt.NDArray[np.generic]) -> ByteArray:
    expected = "expected a uint8 RGB array (H, W, 3)"
    if array.ndim == 2:
        raise ImageError(f"image: found a greyscale array {array.shape}, {expected}: use np.dstack([image] * 3)")
    if array.ndim == 4:
        raise ImageError(f"image: found a batch {array.shape}, {expected}: give a list of images, list(batch)")
    if array.ndim != 3:
        raise ImageError(f"image: found an array of shape {array.shape}, {expected}")
    if array.shape[2] == 4:
        raise ImageError(f"image: found four channels {array.shape}, {expected}: use PIL.Image.fromarray(image)")
    if array.shape[2] != 3:
        advice = ": use image.transpose(1, 2, 0)" if array.shape[0] == 3 else ""
        raise ImageError(f"image: found an array of shape {array.shape}, {expected}{advice}")
    if array.dtype != np.uint8:
        advice = (
            "scale floats in [0, 1] by (image * 255).round().astype(np.uint8)"
            if np.issubdtype(array.dtype, np.floating)
            else "scale it to 0–255 and use .astype(np.uint8)"
        )
        raise ImageError(f"image: found a {array.dtype} array, {expected}: {advice}")
    if array.size == 0:
        raise ImageError(f"image: found an empty array {array.shape}, {expected}")
    return np.ascontiguousarray(array, np.uint8)


@contextmanager
def _pillow_settings() -> Iterator[None]:
    """Pillow without its own size limit (ours is checked instead) and without warnings."""
    with _PILLOW_SETTINGS, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        limit = Image.MAX_IMAGE_PIXELS
        Image.MAX_IMAGE_PIXELS = None
        try:
            yield
        finally:
            Image.MAX_IMAGE_PIXELS = limit


def check_size(image: Image.Image, name: str, max_megapixels: float) -> None:
    """Raise ImageError for an image of more pixels, and for a format that is a program."""
    if image.format == "EPS":
        raise ImageError(
            f"{name}: found EPS, which Pillow gives to Ghostscript to run, expected pixels: save it as PNG"
        )
    refuse_above(image.size, _WEIGHTS.get(image.format or "", 1.0), name, max_megapixels)


def refuse_above(size_wh: tuple[int, int], weight: float, name: object, max_megapixels: float) -> None:
    """Raise ImageError for an image of more pixels than that, each counted `weight` times: what decoding it costs."""
    width, height = size_wh
    megapixels = width * height / 1e6
    if megapixels * max(weight, 1) > max_megapixels:
        cost = "" if weight <= 1 else f", which cost as much memory as {megapixels * weight:.3g} of a JPEG"
        raise ImageError(
            f"{name}: found {width} × {height} pixels ({megapixels:.6g} megapixels{cost}), expected at "
            f"most {max_megapixels:g} megapixels: shrink the image, or raise the limit"
        )


def bands(height: int, width: int) -> Iterator[slice]:
    """Ranges of rows that cover an image, about a million pixels each: conversions need little more memory than it."""
    rows = max(1, _BAND_PIXELS // max(width, 1))
    for top in range(0, height, rows):
        yield slice(top, min(top + rows, height))


def _to_rgb(image: Image.Image, name: str, max_megapixels: float) -> ByteArray:
    check_size(image, name, max_megapixels)
    if image.mode == "F":
        raise ImageError(f"{name}: found floating-point pixels of unknown range, expected 8 or 16 bits: convert it")
    with image_errors(name):
        image.load()
        orientation = orientation_of(image)
        if image.mode.startswith("I"):
            _check_range(image, name)
        # Pillow inverts every CMYK JPEG, but only Adobe's are stored inverted: undo it for the others.
        inverted = image.mode == "CMYK" and image.format == "JPEG" and "adobe" not in image.info
        width, height = image.size
        rgb = np.empty((height, width, 3), np.uint8)
        for rows in bands(height, width):
            band = image.crop((0, rows.start, width, rows.stop))
            if band.mode.startswith("I"):
                rgb[rows] = _deep_grey(band)[..., None]
            else:
                rgb[rows] = np.asarray(_over_white(ImageChops.invert(band) if inverted else band))
        return upright(rgb, orientation)


def orientation_of(image: Image.Image) -> int | None:
    """EXIF orientation, 1 to 8; None where there is none that can be read."""
    try:
        orientation = image.getexif().get(_EXIF_ORIENTATION)
    except Exception:  # damaged EXIF: the pixels are fine, only their orientation is unknown
        return None
    return orientation if isinstance(orientation, int) else None


def upright(values_hwc: AnyArray, orientation: int | None) -> AnyArray:
    """The values turned and mirrored as the EXIF orientation says."""
    turns = {3: 2, 4: 2, 5: -1, 6: -1, 7: 1, 8: 1}
    turned = np.rot90(values_hwc, turns.get(orientation or 1, 0))
    return np.ascontiguousarray(turned[:, ::-1] if orientation in (2, 4, 5, 7) else turned)


def _over_white(image: Image.Image) -> Image.Image:
    if not image.has_transparency_data:
        return image.convert("RGB")
    rgba = image.convert("RGBA")
    return Image.alpha_composite(Image.new("RGBA", rgba.size, "white"), rgba).convert("RGB")


def _check_range(image: Image.Image, name: str) -> None:
    """Raise ImageError for a grey image whose values do not fit 16 bits."""
    values = np.asarray(image)
    low, high = int(values.min(initial=0)), int(values.max(initial=0))
    if low < 0 or high > 0xFFFF:
        raise ImageError(f"{name}: found pixels from {low} to {high}, expected 8 or 16 bits: convert it")


def _deep_grey(image: Image.Image) -> ByteArray:
    """Greyscale of 16 bits (Pillow's modes I;16…, and I for some formats), scaled to 8, (H, W): 65535 is white."""
    values = np.asarray(image).astype(np.uint32)
    grey = ((values + 128) // 257).astype(np.uint8)
    transparent = image.info.get("transparency")
    if isinstance(transparent, int):
        grey[values == transparent] = 255
    return grey


def describe_start(path: Path) -> str:
    """The size and the first bytes of a file, for error messages."""
    with path.open("rb") as file:
        start = file.read(8)
    return f"{path.stat().st_size} bytes, starting with {start!r}"


def one_line(error: BaseException) -> str:
    """The message of a library's error, on one line."""
    return " ".join(f"{error}".split()) or type(error).__name__
