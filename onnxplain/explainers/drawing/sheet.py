"""Sheets of several pictures, and pictures in PNG files."""

from __future__ import annotations

import os
import struct
import zlib
from collections.abc import Mapping, Sequence

import cv2
import numpy as np
from PIL import Image, ImageDraw

from onnxplain.errors import OnnxplainError
from onnxplain.explainers.drawing.colours import BLACK, WHITE
from onnxplain.explainers.drawing.marks import enlargement, resized
from onnxplain.explainers.drawing.text import SMALLEST_FONT, fit_text
from onnxplain.files.atomic import write_atomically
from onnxplain.runtime.arrays import ByteArray

_LONGEST_SHEET_SIDE = 1024
WIDEST_SHEET = 3840
"""Pixels of a screen of four thousand."""
# Signature and header of a PNG file: 8 bytes, then a chunk of 13 bytes with its length, name and checksum.
_PNG_HEAD = 8 + 25


def make_sheet(
    images: Sequence[ByteArray],
    titles: Sequence[str],
    columns: int | None = None,
    widest: int | None = WIDEST_SHEET,
) -> ByteArray:
    """Pictures side by side on white, each under its title: uint8 (H, W, 3) RGB.

    `columns`: pictures per row; None: all in one row. A row of more than `widest` pixels goes on in further lines of
    about equal length; the next row begins a new line. None: every row is one line. Raises OnnxplainError if there is
    no picture, or if the numbers of titles and pictures differ.
    """
    if not images or len(images) != len(titles):
        raise OnnxplainError(
            f"sheet: found {len(images)} pictures and {len(titles)} titles, expected one title per picture"
        )
    tiles = [resized(image, _sheet_factor(image)) for image in images]
    height, width = (max(tile.shape[axis] for tile in tiles) for axis in (0, 1))
    columns = min(columns or len(tiles), len(tiles))
    size = max(SMALLEST_FONT + 5, round(min(height, max(width, 120)) * 0.05))
    gap, header = round(size * 0.8), round(size * 1.9)
    fitting = columns if widest is None else max(1, (widest - gap) // (width + gap))
    across = -(-columns // -(-columns // fitting))
    places = [_place(position, columns, across) for position in range(len(tiles))]
    lines = places[-1][0] + 1
    sheet = Image.new(
        "RGB", (gap + across * (width + gap), lines * (header + height) + gap + (lines - 1) * gap // 2), WHITE
    )
    draw = ImageDraw.Draw(sheet)
    for (row, column), tile, title in zip(places, tiles, titles, strict=True):
        left = gap + column * (width + gap)
        top = row * (header + height + gap // 2)
        line = fit_text(title, width, size)
        line.draw(draw, left + (width - line.width) / 2, top + header * 0.55, BLACK)
        inset = ((width - tile.shape[1]) // 2, (height - tile.shape[0]) // 2)
        sheet.paste(Image.fromarray(tile), (left + inset[0], top + header + inset[1]))
    return np.array(sheet, np.uint8)


def _place(position: int, columns: int, across: int) -> tuple[int, int]:
    """Line and column of a picture; `columns` pictures make a row, and a row takes lines of `across` pictures."""
    row, column = divmod(position, columns)
    line, column = divmod(column, across)
    return row * -(-columns // across) + line, column


def save_png(path: str | os.PathLike[str], image_hwc: ByteArray, texts: Mapping[str, str] | None = None) -> None:
    """Write uint8 (H, W, 3) RGB as PNG, completely or not at all. Raises OnnxplainError if that fails.

    `texts` are written into the file as text chunks by keyword, in UTF-8 (PNG specification, section 11.3.3.4, iTXt).
    """
    try:
        png = encode_png(image_hwc, texts)
    except OnnxplainError as error:
        raise OnnxplainError(f"{path}: {error}") from error
    write_atomically(path, png)


def encode_png(image_hwc: ByteArray, texts: Mapping[str, str] | None = None) -> bytes:
    """The bytes of a PNG file; see `save_png`. Raises OnnxplainError for a picture that PNG cannot hold."""
    encoded, data = cv2.imencode(".png", np.ascontiguousarray(image_hwc[..., ::-1]))
    if not encoded:
        raise OnnxplainError(f"found shape {image_hwc.shape}, expected a picture that PNG can hold")
    png = data.tobytes()
    chunks = b"".join(_text_chunk(keyword, text) for keyword, text in (texts or {}).items())
    return png[:_PNG_HEAD] + chunks + png[_PNG_HEAD:]


def _text_chunk(keyword: str, text: str) -> bytes:
    # Keyword, no compression, no language, no translated keyword.
    content = b"iTXt" + keyword.encode("latin-1") + b"\0\0\0\0\0" + text.encode("utf-8", "surrogatepass")
    return struct.pack(">I", len(content) - 4) + content + struct.pack(">I", zlib.crc32(content))


def _sheet_factor(image_hwc: ByteArray) -> float:
    return min(enlargement(image_hwc), _LONGEST_SHEET_SIDE / int(max(image_hwc.shape[:2])))
