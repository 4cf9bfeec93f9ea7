"""Images as models take them: grey, deep, of many channels; pixels that are bytes and values that are not."""

from __future__ import annotations

import struct
import warnings
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from PIL import Image

from onnxplain.contract import GRAY_PRESETS, PRESETS, Preprocessing
from onnxplain.errors import ImageError, ImageWarning, OnnxplainError
from onnxplain.runtime.geometry import make_frame
from onnxplain.runtime.image import load_image
from onnxplain.runtime.images.pixels import as_picture, picture_of, read_pixels
from onnxplain.runtime.preprocess import normalise, warp_image

RNG = np.random.default_rng(5)
DEEP = RNG.integers(0, 4096, (9, 7), np.uint16)  # 12 of 16 bits
SHALLOW = (DEEP >> 4).astype(np.uint8)
GREY, RGB = GRAY_PRESETS["raw"], PRESETS["raw"]
NATIVE_GREY = Preprocessing("gray", pixels="native", mean=(0,), std=(1,))


def many(count: int, **more: Any) -> Preprocessing:
    return Preprocessing(count, mean=(0.0,), std=(1.0,), **more)


def grey(values_hw: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint8]:
    return np.repeat(values_hw[..., None], 3, axis=2)


def write_tiff(
    path: Path, image_hwc: npt.NDArray[Any], *, planes: bool = False, deflate: bool = False, order: str = "<"
) -> Path:
    """A TIFF of several samples per pixel, one strip per plane; written here because Pillow writes none."""
    height, width, samples = image_hwc.shape
    stored = image_hwc.astype(image_hwc.dtype.newbyteorder(order))
    parts = [stored[..., index].tobytes() for index in range(samples)] if planes else [stored.tobytes()]
    parts = [zlib.compress(part) for part in parts] if deflate else parts
    bits, form = 8 * image_hwc.dtype.itemsize, {"u": 1, "f": 3}[image_hwc.dtype.kind]
    body = b"".join(parts)
    offsets = [8 + sum(map(len, parts[:index])) for index in range(len(parts))]
    sizes = [len(part) for part in parts]
    tags = {
        **{256: [width], 257: [height], 258: [bits] * samples, 259: [8 if deflate else 1], 262: [1], 273: offsets},
        **{277: [samples], 278: [height], 279: sizes, 284: [2 if planes else 1], 339: [form] * samples},
    }
    start = 8 + len(body)
    extra_at, entries, extra = start + 2 + 12 * len(tags) + 4, b"", b""
    for tag, values in tags.items():
        raw = struct.pack(f"{order}{len(values)}I", *values)
        if len(raw) > 4:
            raw, extra = struct.pack(f"{order}I", extra_at + len(extra)), extra + raw
        entries += struct.pack(f"{order}HHI", tag, 4, len(values)) + raw
    head = {"<": b"II", ">": b"MM"}[order] + struct.pack(f"{order}HI", 42, start)
    path.write_bytes(head + body + struct.pack(f"{order}H", len(tags)) + entries + struct.pack(f"{order}I", 0) + extra)
    return path


def test_photos_are_what_they_were(tmp_path: Path) -> None:
    photo = RNG.integers(0, 256, (9, 7, 3), np.uint8)
    Image.fromarray(photo).save(tmp_path / "p.png")
    assert np.array_equal(read_pixels(tmp_path / "p.png", RGB), load_image(tmp_path / "p.png"))
    assert np.array_equal(read_pixels(photo, RGB), photo)


# 12 bits in a 16-bit image, and the value that pixel 0–255 gets: v · 255 / 4095, rounded.
SCALED = grey(np.rint(DEEP.astype(np.float64) * 255 / 4095).astype(np.uint8))


@pytest.mark.parametrize("kind", ["png", "tif", "npy", "array", "pil"])
def test_depth_scales_what_is_used(kind: str, tmp_path: Path) -> None:
    path = tmp_path / f"deep.{kind}"
    source: Any = path
    if kind == "npy":
        np.save(path, DEEP)
    elif kind in ("png", "tif"):
        Image.fromarray(DEEP).save(path)
    else:
        source = DEEP if kind == "array" else Image.fromarray(DEEP)
    found = read_pixels(source, Preprocessing("gray", mean=(0,), std=(1,), depth=12))
    assert np.array_equal(found, SCALED)
    native = read_pixels(source, NATIVE_GREY)
    assert native.dtype == np.float32
    assert np.array_equal(native[..., 0], DEEP)


def test_depth_of_colours(tmp_path: Path) -> None:
    """Pillow reads 16-bit colours as 8 bits; what is stated needs all of them."""
    import cv2

    deep = RNG.integers(0, 1024, (6, 5, 3), np.uint16)
    cv2.imwrite(str(tmp_path / "deep.png"), deep[..., ::-1])
    found = read_pixels(tmp_path / "deep.png", Preprocessing(depth=10))
    assert np.array_equal(found, np.rint(deep.astype(np.float64) * 255 / 1023))
    assert np.array_equal(read_pixels(tmp_path / "deep.png", Preprocessing(pixels="native")), deep)


@pytest.mark.parametrize("orientation", range(1, 9))
def test_deep_images_are_upright(orientation: int, tmp_path: Path) -> None:
    """The reference is the same image in 8 bits, as photos are read."""
    exif = Image.Exif()
    exif[0x0112] = orientation
    Image.fromarray(SHALLOW.astype(np.uint16)).save(tmp_path / "deep.png", exif=exif)
    Image.fromarray(SHALLOW).save(tmp_path / "shallow.png", exif=exif)
    found = read_pixels(tmp_path / "deep.png", NATIVE_GREY)
    assert np.array_equal(found[..., 0], load_image(tmp_path / "shallow.png")[..., 0])


def test_the_limit_of_pixels_comes_first(tmp_path: Path) -> None:
    Image.fromarray(DEEP).save(tmp_path / "deep.png")
    write_tiff(tmp_path / "many.tif", RNG.integers(0, 9, (9, 7, 4), np.uint8))
    stated = Preprocessing("gray", mean=(0,), std=(1,), depth=12)
    for name, preprocessing in (
        ("deep.png", GREY),
        ("deep.png", NATIVE_GREY),
        ("deep.png", stated),
        ("many.tif", many(4)),
    ):
        with pytest.raises(ImageError, match="megapixels"):
            read_pixels(tmp_path / name, preprocessing, max_megapixels=1e-5)


def test_floats_have_no_depth(tmp_path: Path) -> None:
    Image.fromarray(RNG.random((4, 5), np.float32)).save(tmp_path / "float.tif")
    with pytest.raises(ImageError, match="--pixels"):
        read_pixels(tmp_path / "float.tif", Preprocessing("gray", mean=(0,), std=(1,), depth=12))
    assert read_pixels(tmp_path / "float.tif", NATIVE_GREY).dtype == np.float32


def test_a_shallow_use_of_16_bits_is_said(tmp_path: Path) -> None:
    Image.fromarray(DEEP).save(tmp_path / "deep.png")
    with pytest.warns(ImageWarning, match="values up to 40.*give --depth 12"):
        read_pixels(tmp_path / "deep.png", GREY)
    whole = DEEP * 16
    Image.fromarray(whole).save(tmp_path / "whole.png")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        read_pixels(tmp_path / "whole.png", GREY)
        read_pixels(tmp_path / "deep.png", Preprocessing("gray", mean=(0,), std=(1,), depth=12))


# What is read, for which preprocessing, and the pixels.
ARRAYS: dict[str, tuple[npt.NDArray[Any], Preprocessing, npt.NDArray[Any]]] = {
    "grey (H, W)": (SHALLOW, GREY, grey(SHALLOW)),
    "grey (H, W, 1)": (SHALLOW[..., None], GREY, grey(SHALLOW)),
    "native grey, 16 bits": (DEEP, NATIVE_GREY, DEEP[..., None]),
    "native grey, floats": (DEEP / 4096, NATIVE_GREY, (DEEP / 4096)[..., None]),
    "channels first": (RNG.random((4, 9, 7)), many(4, pixels="native"), None),
    "channels last": (RNG.random((9, 7, 12)), many(12, pixels="native"), None),
    "bytes of many channels": (RNG.integers(0, 256, (9, 7, 6), np.uint8), many(6), None),
}


@pytest.mark.parametrize(("array", "preprocessing", "expected"), ARRAYS.values(), ids=ARRAYS)
def test_arrays(array: Any, preprocessing: Preprocessing, expected: Any, tmp_path: Path) -> None:
    if expected is None:
        expected = array.transpose(1, 2, 0) if array.shape[0] == preprocessing.channel_count else array
    np.save(tmp_path / "image.npy", array)
    found = read_pixels(array, preprocessing)
    assert np.array_equal(found, expected.astype(found.dtype))
    assert np.array_equal(read_pixels(tmp_path / "image.npy", preprocessing), found)
    # What was read is taken as it is.
    assert np.array_equal(read_pixels(found, preprocessing), found)
    assert picture_of(array, found.shape[:2]).shape == (*found.shape[:2], 3)


@pytest.mark.parametrize(
    ("array", "preprocessing", "says"),
    [
        (SHALLOW, RGB, "greyscale array"),
        (DEEP, GREY, "uint16 array, expected uint8.*--depth BITS"),
        (DEEP / 4096, GREY, "float64 array, expected uint8.*--pixels"),
        (RNG.random((9, 7, 4)), many(4), "float64 array, expected uint8.*--pixels"),
        (RNG.integers(0, 9, (9, 7, 4), np.uint16), many(4), "uint16 array.*--depth BITS"),
        (np.zeros((4, 9, 4), np.uint8), many(4), r"may be \(C, H, W\) or \(H, W, C\)"),
        (np.zeros((9, 7, 5), np.uint8), many(4), "with 4 channels"),
        (np.full((9, 7), 4096, np.uint16), Preprocessing("gray", mean=(0,), std=(1,), depth=12), "0 to 4095"),
    ],
)
def test_arrays_that_are_refused(array: Any, preprocessing: Preprocessing, says: str) -> None:
    with pytest.raises(ImageError, match=says):
        read_pixels(array, preprocessing)


@pytest.mark.parametrize(("depth", "says"), [(0, "1 to 16"), (17, "1 to 16"), (True, "1 to 16")])
def test_depths_that_are_refused(depth: Any, says: str) -> None:
    with pytest.raises(OnnxplainError, match=says):
        Preprocessing(depth=depth)
    with pytest.raises(OnnxplainError, match="native pixels"):
        Preprocessing(depth=12, pixels="native")


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("planes", [False, True])
@pytest.mark.parametrize("deflate", [False, True])
@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.float32])
def test_tiff_of_many_channels(order: str, planes: bool, deflate: bool, dtype: Any, tmp_path: Path) -> None:
    image = (RNG.random((9, 7, 12)) * 250).astype(dtype)
    path = write_tiff(tmp_path / "image.tif", image, planes=planes, deflate=deflate, order=order)
    found = read_pixels(path, many(12, pixels="native"))
    assert np.array_equal(found, image.astype(np.float32))


def test_tiff_with_a_page_per_channel(tmp_path: Path) -> None:
    pages = [RNG.integers(0, 65536, (9, 7), np.uint16) for _ in range(4)]
    first, *others = (Image.fromarray(page) for page in pages)
    first.save(tmp_path / "pages.tif", save_all=True, append_images=others)
    found = read_pixels(tmp_path / "pages.tif", many(4, pixels="native"))
    assert np.array_equal(found, np.stack(pages, axis=2))
    with pytest.raises(ImageError, match="found 4 pages of 1 channels, expected 6 channels"):
        read_pixels(tmp_path / "pages.tif", many(6))


def test_four_channels_of_a_png_and_damage(tmp_path: Path) -> None:
    image = RNG.integers(0, 256, (9, 7, 4), np.uint8)
    Image.fromarray(image, "RGBA").save(tmp_path / "four.png")
    assert np.array_equal(read_pixels(tmp_path / "four.png", many(4)), image)
    with pytest.raises(ImageError, match="mode RGBA, expected 5 channels"):
        read_pixels(tmp_path / "four.png", many(5))
    path = write_tiff(tmp_path / "cut.tif", image)
    path.write_bytes(path.read_bytes()[:60])
    with pytest.raises(ImageError, match="damaged TIFF"):
        read_pixels(path, many(4))


@pytest.mark.parametrize("count", [1, 2, 5, 12])
@pytest.mark.parametrize("dtype", [np.uint8, np.float32])
@pytest.mark.parametrize("resize", ["crop", "stretch", "letterbox"])
def test_many_channels_are_warped_one_by_one(count: int, dtype: Any, resize: Any) -> None:
    """Each channel is what a photo of that channel alone becomes: the reference is the path of photos."""
    image = RNG.integers(0, 256, (50, 37, count), np.uint8)
    frame = make_frame((50, 37), (24, 20), resize)
    found = warp_image(image.astype(dtype), frame, border=0)
    assert found.dtype == dtype
    for channel in range(count):
        photo = np.ascontiguousarray(np.repeat(image[..., channel, None], 3, axis=2))
        expected = warp_image(photo, frame, border=0)[..., 0]
        assert np.abs(found[..., channel].astype(np.float64) - expected).max() <= 1


def test_native_values_are_normalised_as_they_are() -> None:
    image = (RNG.random((1, 4, 5, 12)) * 9).astype(np.float32)
    means = tuple(range(12))
    found = normalise(image, Preprocessing(12, 0.5, means, (2.0,), pixels="native"))
    expected = (image.transpose(0, 3, 1, 2) * 0.5 - np.reshape(means, (12, 1, 1))) / 2
    assert np.allclose(found, expected, atol=1e-6)


def test_pictures_of_what_is_no_photo() -> None:
    values = np.zeros((2, 2, 4), np.float32)
    values[0, 0] = 8
    picture = as_picture(values)
    assert picture.dtype == np.uint8
    assert picture[0, 0].tolist() == [255] * 3
    assert picture[1, 1].tolist() == [0] * 3
