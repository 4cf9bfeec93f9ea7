from __future__ import annotations

import io
import struct
import warnings
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from onnxplain.errors import ImageError
from onnxplain.runtime import as_image, load_image

ORIENTATION = 0x0112
HEIGHT, WIDTH = 6, 9
# Few colours, so that palettes hold all of them, and none alike along either axis.
RGB = np.random.default_rng(3).integers(0, 256, (HEIGHT, WIDTH, 3), np.uint8)
GREY = np.random.default_rng(4).integers(0, 256, (HEIGHT, WIDTH), np.uint8)
ALPHA = np.random.default_rng(5).integers(0, 256, (HEIGHT, WIDTH), np.uint8)


def over_white(rgb: np.ndarray, alpha: np.ndarray) -> np.ndarray:
    share = alpha[..., None] / 255
    return rgb * share + 255 * (1 - share)


def save(path: Path, image: Image.Image, **options: object) -> Path:
    image.save(path, **options)
    return path


def quiet_load(path: Path, **options: float) -> np.ndarray:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        image = load_image(path, **options)
    assert image.dtype == np.uint8
    assert image.flags.c_contiguous
    return image


def palette_image(transparency: bytes | int | None = None) -> tuple[Image.Image, np.ndarray, np.ndarray]:
    """A palette image, its colours and its alpha, from the palette by hand."""
    colours = np.random.default_rng(6).integers(0, 256, (16, 3), np.uint8)
    indices = np.random.default_rng(7).integers(0, 16, (HEIGHT, WIDTH), np.uint8)
    image = Image.fromarray(indices, "L")
    image.putpalette(colours.tobytes())
    alpha = np.full(16, 255, np.uint8)
    if isinstance(transparency, int):
        alpha[transparency] = 0
    elif transparency is not None:
        alpha[: len(transparency)] = np.frombuffer(transparency, np.uint8)
    return image, colours[indices], alpha[indices]


@pytest.mark.parametrize("suffix", ["png", "bmp", "tiff", "webp", "ppm", "gif"])
def test_rgb_files(tmp_path, suffix):
    options = {"lossless": True} if suffix == "webp" else {}
    path = save(tmp_path / f"image.{suffix}", Image.fromarray(RGB), **options)
    np.testing.assert_array_equal(quiet_load(path), RGB)


def test_greyscale(tmp_path):
    path = save(tmp_path / "grey.png", Image.fromarray(GREY))
    np.testing.assert_array_equal(quiet_load(path), np.dstack([GREY] * 3))


def test_one_bit(tmp_path):
    path = save(tmp_path / "bits.png", Image.fromarray(GREY > 127))
    np.testing.assert_array_equal(quiet_load(path), np.dstack([(GREY > 127) * 255] * 3))


@pytest.mark.parametrize(
    ("suffix", "transparency"),
    [("png", None), ("png", 3), ("png", bytes(range(0, 255, 17))), ("gif", None), ("gif", 3)],
)
def test_palette(tmp_path, suffix, transparency):
    image, rgb, alpha = palette_image(transparency)
    options = {} if transparency is None else {"transparency": transparency}
    path = save(tmp_path / f"palette.{suffix}", image, **options)
    np.testing.assert_allclose(quiet_load(path), over_white(rgb, alpha), atol=1)


@pytest.mark.parametrize("mode", ["RGBA", "LA"])
def test_transparency_lies_over_white(tmp_path, mode):
    rgb = RGB if mode == "RGBA" else np.dstack([GREY] * 3)
    colours = RGB if mode == "RGBA" else GREY
    path = save(tmp_path / "alpha.png", Image.fromarray(np.dstack([colours, ALPHA]), mode))
    np.testing.assert_allclose(quiet_load(path), over_white(rgb, ALPHA), atol=1)


@pytest.mark.parametrize("mode", ["RGB", "L"])
def test_one_transparent_colour(tmp_path, mode):
    array = RGB if mode == "RGB" else GREY
    key = tuple(int(v) for v in array[2, 3]) if mode == "RGB" else int(array[2, 3])
    path = save(tmp_path / "key.png", Image.fromarray(array), transparency=key)
    expected = RGB.copy() if mode == "RGB" else np.dstack([GREY] * 3)
    expected[(array == key).all(axis=-1) if mode == "RGB" else array == key] = 255
    np.testing.assert_array_equal(quiet_load(path), expected)


@pytest.mark.parametrize("suffix", ["png", "tiff", "pgm"])
def test_sixteen_bit_grey_is_scaled(tmp_path, suffix):
    deep = GREY.astype(np.uint16) * 257  # 255 becomes 65535
    deep[0, :3] = [0, 65535, 300]
    path = save(tmp_path / f"deep.{suffix}", Image.fromarray(deep))
    np.testing.assert_array_equal(quiet_load(path), np.dstack([np.round(deep / 257)] * 3))


def test_sixteen_bit_grey_with_a_transparent_value(tmp_path):
    deep = GREY.astype(np.uint16) * 257
    path = tmp_path / "deep.png"
    path.write_bytes(png16(deep[..., None], colour_type=0, transparent=struct.pack(">H", int(deep[1, 1]))))
    expected = np.where(deep == deep[1, 1], 255, GREY)
    np.testing.assert_array_equal(quiet_load(path), np.dstack([expected] * 3))


@pytest.mark.parametrize(("colour_type", "channels"), [(2, 3), (6, 4), (4, 2)])
def test_sixteen_bit_colour(tmp_path, colour_type, channels):
    deep = np.random.default_rng(9).integers(0, 65536, (HEIGHT, WIDTH, channels), np.uint16)
    path = tmp_path / "deep.png"
    path.write_bytes(png16(deep, colour_type))
    share = deep / 65535
    colours = share[..., :3] if channels > 2 else share[..., :1].repeat(3, axis=2)
    alpha = share[..., -1] * 255 if channels in (2, 4) else np.full((HEIGHT, WIDTH), 255)
    np.testing.assert_allclose(quiet_load(path), over_white(colours * 255, alpha), atol=2)


def png16(deep: np.ndarray, colour_type: int, transparent: bytes | None = None) -> bytes:
    """A 16-bit PNG written by hand, from the specification: Pillow writes none in colour."""

    def chunk(name: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))

    height, width = deep.shape[:2]
    rows = b"".join(b"\0" + row.astype(">u2").tobytes() for row in deep)
    header = struct.pack(">IIBBBBB", width, height, 16, colour_type, 0, 0, 0)
    extra = chunk(b"tRNS", transparent) if transparent else b""
    body = chunk(b"IHDR", header) + extra + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + body


def smooth_rgb() -> np.ndarray:
    """An image that survives JPEG."""
    ys, xs = np.mgrid[:48, :64]
    return np.dstack([xs * 3 + 20, ys * 4 + 30, 200 - xs - ys]).astype(np.uint8)


def test_cmyk_jpeg_with_adobe_inversion(tmp_path):
    rgb = smooth_rgb()
    path = save(tmp_path / "cmyk.jpg", Image.fromarray(rgb).convert("CMYK"), quality=98)
    assert b"Adobe" in path.read_bytes()
    np.testing.assert_allclose(quiet_load(path).astype(int), rgb, atol=6)


def test_cmyk_jpeg_without_adobe_marker(tmp_path):
    rgb = smooth_rgb()
    inverted = Image.fromarray(255 - np.asarray(Image.fromarray(rgb).convert("CMYK")), "CMYK")
    data = save(tmp_path / "cmyk.jpg", inverted, quality=98).read_bytes()
    start = data.index(b"\xff\xee")
    length = struct.unpack(">H", data[start + 2 : start + 4])[0]
    (tmp_path / "plain.jpg").write_bytes(data[:start] + data[start + 2 + length :])
    np.testing.assert_allclose(quiet_load(tmp_path / "plain.jpg").astype(int), rgb, atol=6)


def test_ycck_jpeg(tmp_path):
    rgb = smooth_rgb()
    # Adobe's YCCK holds the YCbCr of the inks C, M, Y, and K inverted. Pillow writes no YCCK, but stores four
    # planes inverted; the last byte of the Adobe marker then tells what they mean.
    ycc = np.asarray(Image.fromarray(255 - rgb).convert("YCbCr"))
    planes = np.dstack([255 - ycc, np.zeros(rgb.shape[:2], np.uint8)])
    data = bytearray(save(tmp_path / "cmyk.jpg", Image.fromarray(planes, "CMYK"), quality=98).read_bytes())
    data[data.index(b"Adobe") + 11] = 2
    (tmp_path / "ycck.jpg").write_bytes(data)
    np.testing.assert_allclose(quiet_load(tmp_path / "ycck.jpg").astype(int), rgb, atol=6)


def test_cmyk_tiff(tmp_path):
    path = save(tmp_path / "cmyk.tiff", Image.fromarray(RGB).convert("CMYK"))
    np.testing.assert_allclose(quiet_load(path).astype(int), RGB, atol=1)


# What is stored for each orientation (EXIF 2.3, tag 274): the upright image, moved the other way.
STORED = {
    1: lambda upright: upright,
    2: lambda upright: upright[:, ::-1],
    3: lambda upright: upright[::-1, ::-1],
    4: lambda upright: upright[::-1],
    5: lambda upright: upright.transpose(1, 0, 2),
    6: lambda upright: np.rot90(upright, 1),
    7: lambda upright: upright[::-1, ::-1].transpose(1, 0, 2),
    8: lambda upright: np.rot90(upright, -1),
}


@pytest.mark.parametrize("suffix", ["png", "tiff", "webp"])
@pytest.mark.parametrize("orientation", STORED)
def test_exif_orientation(tmp_path, orientation, suffix):
    image = Image.fromarray(np.ascontiguousarray(STORED[orientation](RGB)))
    exif = Image.Exif()
    exif[ORIENTATION] = orientation
    options = {"lossless": True} if suffix == "webp" else {}
    path = save(tmp_path / f"turned.{suffix}", image, exif=exif, **options)
    np.testing.assert_array_equal(quiet_load(path), RGB)
    with Image.open(path) as opened:
        np.testing.assert_array_equal(as_image(opened), RGB)


def test_exif_orientation_of_a_jpeg(tmp_path):
    rgb = smooth_rgb()
    exif = Image.Exif()
    exif[ORIENTATION] = 6
    turned = Image.fromarray(np.ascontiguousarray(np.rot90(rgb)))
    path = save(tmp_path / "turned.jpg", turned, exif=exif, quality=98, subsampling=0)
    np.testing.assert_allclose(quiet_load(path).astype(int), rgb, atol=6)


def test_damaged_exif_leaves_the_pixels(tmp_path):
    buffer = io.BytesIO()
    Image.fromarray(RGB).save(buffer, "PNG", exif=b"Exif\0\0II*\0\xff\xff\xff\xff\xff")
    (tmp_path / "exif.png").write_bytes(buffer.getvalue())
    np.testing.assert_array_equal(quiet_load(tmp_path / "exif.png"), RGB)


@pytest.mark.parametrize("shape", [(1, 40), (40, 1), (1, 1)])
def test_one_pixel_wide(tmp_path, shape):
    rgb = np.random.default_rng(2).integers(0, 256, (*shape, 3), np.uint8)
    np.testing.assert_array_equal(quiet_load(save(tmp_path / "thin.png", Image.fromarray(rgb))), rgb)


def png_bytes() -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (64, 64, 3), np.uint8)).save(buffer, "PNG")
    return buffer.getvalue()


def jpeg_bytes() -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (64, 64, 3), np.uint8)).save(buffer, "JPEG")
    return buffer.getvalue()


BAD_FILES = {
    "empty": (b"", "found an empty file"),
    "text": (b"hello, this is a text", "found no image"),
    "truncated png": (png_bytes()[:2000], "damaged or truncated"),
    "truncated jpeg": (jpeg_bytes()[:2000], "damaged or truncated"),
    "header only": (png_bytes()[:60], "damaged or truncated"),
    "broken header": (png_bytes()[:14], "found no image"),
    "flipped png": (png_bytes()[:3000] + b"\xff" * 500 + png_bytes()[3500:], "damaged or truncated"),
    "enormous": (
        png_bytes()[:16] + struct.pack(">II", 100_000, 100_000) + png_bytes()[24:29]
        + struct.pack(">I", zlib.crc32(b"IHDR" + struct.pack(">II", 100_000, 100_000) + png_bytes()[24:29]))
        + png_bytes()[33:],
        "10000 megapixels",
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", BAD_FILES)
def test_bad_files_give_one_line(tmp_path, case):
    data, found = BAD_FILES[case]
    path = tmp_path / "bad.png"
    path.write_bytes(data)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with pytest.raises(ImageError) as caught:
            load_image(path)
    message = str(caught.value)
    assert message.startswith(f"{path}: found")
    assert found in message
    assert "expected" in message
    assert "\n" not in message


def test_missing_file_and_folder(tmp_path):
    with pytest.raises(ImageError, match="found no such file"):
        load_image(tmp_path / "nothing.png")
    with pytest.raises(ImageError, match="found a folder"):
        load_image(tmp_path)


def test_megapixel_limit_is_an_option(tmp_path):
    path = save(tmp_path / "image.png", Image.new("RGB", (200, 100)))
    assert quiet_load(path, max_megapixels=0.02).shape == (100, 200, 3)
    with pytest.raises(ImageError, match=r"found 200 × 100 pixels .* at most 0\.019"):
        load_image(path, max_megapixels=0.019)
    with Image.open(path) as image, pytest.raises(ImageError, match=r"at most 0\.019 megapixels"):
        as_image(image, max_megapixels=0.019)


def test_large_images_leave_no_warning_and_no_setting_behind(tmp_path, monkeypatch):
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 100)
    path = save(tmp_path / "image.png", Image.new("RGB", (200, 100)))
    assert quiet_load(path).shape == (100, 200, 3)
    assert Image.MAX_IMAGE_PIXELS == 100


@pytest.mark.parametrize("mode", ["F", "I"])
def test_pixels_of_unknown_range_are_refused(tmp_path, mode):
    values = np.full((4, 4), 100_000, np.float32 if mode == "F" else np.int32)
    path = save(tmp_path / "deep.tiff", Image.fromarray(values))
    with pytest.raises(ImageError, match="expected 8 or 16 bits"):
        load_image(path)


def test_as_image_takes_paths_pillow_images_and_arrays(tmp_path):
    path = save(tmp_path / "image.png", Image.fromarray(RGB))
    for image in (path, str(path), Image.fromarray(RGB), RGB, np.asfortranarray(RGB)):
        read = as_image(image)
        np.testing.assert_array_equal(read, RGB)
        assert read.flags.c_contiguous


@pytest.mark.parametrize(
    ("image", "message"),
    [
        (RGB.astype(np.float32) / 255, r"found a float32 array.*\* 255"),
        (RGB.astype(np.uint16), "found a uint16 array.*astype"),
        (GREY, "found a greyscale array"),
        (RGB[None], "found a batch.*list"),
        (np.dstack([RGB, ALPHA]), "found four channels"),
        (RGB.transpose(2, 0, 1), "transpose"),
        (RGB[:0], "found an empty array"),
        (RGB[0, 0], "expected a uint8 RGB array"),
        (42, "found int, expected a path"),
        (None, "found NoneType"),
    ],
)
def test_as_image_refuses_by_name(image, message):
    with pytest.raises(ImageError, match=message):
        as_image(image)
