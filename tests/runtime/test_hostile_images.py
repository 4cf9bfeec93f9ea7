"""Whatever a file holds, reading it is an image or one ImageError of one line, in bounded memory."""

from __future__ import annotations

import io
import os
import socket
import struct
import subprocess
import sys
import warnings
import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import EpsImagePlugin, Image

from onnxplain import load_image
from onnxplain.contract import Preprocessing
from onnxplain.data.formats.image_lookup import read_size_hw
from onnxplain.errors import ImageError, OnnxplainError
from onnxplain.runtime.image import as_image, bands
from onnxplain.runtime.images.pixels import read_pixels

_CASES = Path(__file__).resolve().parents[3] / "shared" / "cases" / "hostile"


def _chunk(kind: bytes, content: bytes) -> bytes:
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))


def _png(*chunks: bytes) -> bytes:
    header = _chunk(b"IHDR", struct.pack(">IIBBBBB", 1, 1, 8, 2, 0, 0, 0))
    return (
        b"\x89PNG\r\n\x1a\n"
        + header
        + b"".join(chunks)
        + _chunk(b"IDAT", zlib.compress(bytes(4)))
        + _chunk(b"IEND", b"")
    )


def _tiff(*tags: tuple[int, int, int, int]) -> bytes:
    """Little-endian TIFF of one page; a tag is number, type, count, value."""
    entries = b"".join(struct.pack("<HHII", *tag) for tag in tags)
    return b"II*\0" + struct.pack("<IH", 8, len(tags)) + entries + bytes(4 + 64)


_BOMB = zlib.compress(bytes(100_000_000), 9)
_GREY_16 = ((256, 4, 1, 2), (257, 4, 1, 2), (258, 3, 1, 16), (262, 3, 1, 1), (273, 4, 1, 8), (279, 4, 1, 8))
CONTENTS: dict[str, bytes] = {
    "a.png": b"",
    "b.png": b"\x89PNG\r\n\x1a\n\0\0\0\x0dIHDR\0\0",
    "ztxt.png": _png(_chunk(b"zTXt", b"bomb\0\0" + _BOMB)),
    "iccp.png": _png(_chunk(b"iCCP", b"bomb\0\0" + _BOMB)),
    "number.pgm": b"P5 \xff\xff\xff\xff 2 255\n",
    "long.ppm": b"P6 11111111111111111111 2 255\n",
    "maximum.pgm": b"P5 2 2 0\n1234",
    "icon.xbm": b"#define a_width 99999\n#define a_height zz\nstatic char a[]={0x00\x80",
    "sky.fits": b"SIMPLE  =                    T".ljust(80)
    + b"BITPIX  = 8 \xff\xff\x7f".ljust(80)
    + b"NAXIS   = 2".ljust(320),
    "texture.dds": b"DDS " + struct.pack("<31I", 124, 7, 4, 4, *([0] * 15), 32, 4, 0x31313131, *([0] * 9)),
    "none.tif": _tiff((256, 4, 1, 0), *_GREY_16[1:]),
    "strip.tif": _tiff(*_GREY_16[:4], (273, 4, 1, 2**32 - 1), (279, 4, 1, 2**32 - 1)),
    "tile.tif": _tiff(*_GREY_16[:4], (322, 4, 1, 2**31), (323, 4, 1, 0), (324, 4, 1, 8), (325, 4, 1, 8)),
    "array.npy": b"\x93NUMPY\x01\0v\0"
    + b"{'descr': '<f4', 'fortran_order': False, 'shape': (9999999999, 3), }".ljust(117)
    + b"\n",
    "nested.npy": b"\x93NUMPY\x01\0v\0" + (b"(" * 100).ljust(117) + b"\n",
    "object.npy": b"\x93NUMPY\x01\0v\0"
    + b"{'descr': '|O', 'fortran_order': False, 'shape': (2, 3), }".ljust(117)
    + b"\n",
}
READERS: dict[str, Callable[[Path], object]] = {
    "load_image": load_image,
    "read_pixels": lambda path: read_pixels(path, Preprocessing()),
    "native": lambda path: read_pixels(path, Preprocessing(pixels="native")),
    "channels": lambda path: read_pixels(path, Preprocessing(channels=5, mean=(0.0,) * 5, std=(1.0,) * 5)),
    "read_size_hw": read_size_hw,
}


def require_image_or_one_line(reader: str, path: Path) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            READERS[reader](path)
        except ImageError as error:
            assert "\n" not in str(error)
            assert str(error).startswith(str(path)) or str(error).startswith("image: ")


@pytest.mark.parametrize("reader", READERS)
@pytest.mark.parametrize("name", CONTENTS)
def test_a_damaged_image_is_one_error(name: str, reader: str, tmp_path: Path) -> None:
    (tmp_path / name).write_bytes(CONTENTS[name])
    require_image_or_one_line(reader, tmp_path / name)


@pytest.mark.parametrize("reader", READERS)
@pytest.mark.parametrize("seed", range(25))
def test_a_changed_image_is_one_error(seed: int, reader: str, tmp_path: Path) -> None:
    rng = np.random.default_rng(seed)
    suffix = ("png", "jpg", "gif", "tif", "bmp", "ppm", "webp", "tga", "ico", "pcx")[seed % 10]
    stream = io.BytesIO()
    picture = Image.fromarray(rng.integers(0, 256, (16, 16, 3), np.uint8))
    picture.save(tmp_path / f"whole.{suffix}")
    content = bytearray((tmp_path / f"whole.{suffix}").read_bytes())
    for place in rng.integers(0, min(len(content), 200), 6):
        content[place] = rng.integers(0, 256)
    stream.write(content[: rng.integers(20, len(content) + 1)])
    path = tmp_path / f"changed.{suffix}"
    path.write_bytes(stream.getvalue())
    require_image_or_one_line(reader, path)


@pytest.mark.parametrize("reader", READERS)
@pytest.mark.parametrize("name", ["figure.eps", "figure.png"])
def test_an_image_that_is_a_program_is_not_run(
    name: str, reader: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ran: list[object] = []
    monkeypatch.setattr(EpsImagePlugin, "Ghostscript", lambda *given: ran.append(given))
    (tmp_path / name).write_bytes(b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n%%EndComments\n(x) show\n%%EOF\n")
    require_image_or_one_line(reader, tmp_path / name)
    assert not ran
    if reader != "read_size_hw":
        with pytest.raises(ImageError, match="found EPS"):
            READERS[reader](tmp_path / name)


@pytest.mark.parametrize("reader", READERS)
def test_the_cases_that_were_found_by_mutation(reader: str) -> None:
    if not _CASES.is_dir():
        pytest.skip("no ../shared/cases beside the repository")
    for path in sorted(_CASES.iterdir()):
        if path.suffix != ".onnx":
            require_image_or_one_line(reader, path)


@pytest.mark.parametrize("reader", READERS)
@pytest.mark.parametrize("kind", ["pipe", "socket", "device", "folder", "nothing", "too long", "zero byte"])
def test_what_is_no_file_is_refused_before_it_is_opened(kind: str, reader: str, tmp_path: Path) -> None:
    path = tmp_path / "x.png"
    if kind == "pipe":
        os.mkfifo(path)
    elif kind == "socket":
        with socket.socket(socket.AF_UNIX) as server:
            server.bind(str(path))
    elif kind == "device":
        path = Path("/dev/zero")
    elif kind == "folder":
        path.mkdir()
    elif kind != "nothing":
        path = Path("x" * 300 if kind == "too long" else "x\0.png")
    # No file has a zero byte in its name: such a path is a wrong argument.
    with pytest.raises(OnnxplainError if kind == "zero byte" else ImageError) as caught:
        READERS[reader](path)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("reader", ["load_image", "read_pixels", "native", "read_size_hw"])
@pytest.mark.parametrize("mode", ["RGB", "I;16", "16-bit RGB"])
def test_names_that_are_not_utf_8(mode: str, reader: str, tmp_path: Path) -> None:
    import cv2

    path = tmp_path / os.fsdecode(b"caf\xe9.png")
    if mode == "RGB":
        Image.new("RGB", (4, 3), "red").save(path)
    else:
        shape = (3, 4) if mode == "I;16" else (3, 4, 3)
        path.write_bytes(cv2.imencode(".png", np.full(shape, 40_000, np.uint16))[1].tobytes())
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        READERS[reader](path)


@pytest.mark.parametrize("mode", ["L", "1", "P", "RGB", "RGBA", "LA", "CMYK", "I;16", "YCbCr", "LAB", "HSV"])
def test_pixels_do_not_depend_on_the_bands(mode: str, monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(5)
    if mode == "I;16":
        picture = Image.fromarray(rng.integers(0, 2**16, (23, 7), np.uint16))
    else:
        rgba = Image.fromarray(rng.integers(0, 256, (23, 7, 4), np.uint8))
        picture = rgba if mode == "RGBA" else rgba.convert("LA") if mode == "LA" else rgba.convert("RGB").convert(mode)
    whole = as_image(picture)
    monkeypatch.setattr("onnxplain.runtime.image._BAND_PIXELS", 21)
    assert [(rows.start, rows.stop) for rows in bands(7, 7)] == [(0, 3), (3, 6), (6, 7)]
    np.testing.assert_array_equal(as_image(picture), whole)


def _limited(code: str, path: Path, bytes_of_memory: int) -> str:
    prelude = f"import resource; resource.setrlimit(resource.RLIMIT_AS, ({bytes_of_memory},) * 2); "
    return subprocess.run(
        [sys.executable, "-c", prelude + code, path], capture_output=True, text=True, check=True, timeout=120
    ).stdout.strip()


@pytest.mark.parametrize(("mode", "weight"), [("L", 1), ("I;16", 1), ("webp", 2), ("jp2", 2)])
def test_the_limit_counts_what_decoding_costs(mode: str, weight: int, tmp_path: Path) -> None:
    path = tmp_path / {"L": "a.png", "I;16": "b.png", "webp": "c.webp", "jp2": "d.jp2"}[mode]
    Image.new(mode if mode in ("L", "I;16") else "RGB", (100, 100)).save(path)
    assert load_image(path, weight * 0.01).shape == (100, 100, 3)
    with pytest.raises(ImageError, match="raise the limit"):
        load_image(path, weight * 0.01 - 0.001)


def test_a_16_bit_image_is_converted_in_place(tmp_path: Path) -> None:
    """36 megapixels take 250 MB: two bytes decoded, three as RGB, and a band. They took 900 MB."""
    pytest.importorskip("resource", reason="the system has no such limit")
    Image.fromarray(np.zeros((6000, 6000), np.uint16)).save(tmp_path / "deep.png")
    code = """
import sys, resource
from onnxplain import load_image
def used(): return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
before = used()
load_image(sys.argv[1])
print((used() - before) // 1024)
"""
    assert int(_limited(code, tmp_path / "deep.png", 2**33)) < 400
