"""Draw pictures: heatmaps over images, boxes with label and score, sheets of several pictures."""

from __future__ import annotations

import difflib
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import cv2
import numpy as np
from PIL import Image, ImageDraw, ImageFont

from onnxplain.errors import OnnxplainError
from onnxplain.files.atomic import write_atomically
from onnxplain.runtime.arrays import ByteArray, FloatArray
from onnxplain.runtime.box import Corners
from onnxplain.runtime.image import bands

Colour = tuple[int, int, int]

COLORMAPS: Mapping[str, int] = {
    name.removeprefix("COLORMAP_").lower(): getattr(cv2, name)
    for name in sorted(dir(cv2))
    if name.startswith("COLORMAP_")
}

WHITE: Colour = (255, 255, 255)
BLACK: Colour = (0, 0, 0)

# Pictures smaller than this are enlarged so that text can be read, but not past the longest side.
MINIMUM_SIDE = 480
_LONGEST_ENLARGED_SIDE = 2048
_LONGEST_SHEET_SIDE = 1024
_SMALLEST_FONT = 9


@dataclass(frozen=True)
class Mark:
    """A box, x1, y1, x2, y2 in pixels of the image, with a line of text. Either may be left out."""

    box_xyxy: Corners | None = None
    text: str = ""
    colour: Colour = WHITE


def colourise(heatmap_hw: FloatArray, colormap: str = "turbo") -> ByteArray:
    """Heat in [0, 1] → uint8 (H, W, 3) RGB with one of OpenCV's colormaps.

    Raises OnnxplainError for an unknown colormap; the message lists all.
    """
    return _palette(colormap)[_levels(heatmap_hw)]


def _levels(heatmap_hw: FloatArray) -> ByteArray:
    return np.rint(np.clip(heatmap_hw, 0, 1) * 255).astype(np.uint8)


def _palette(colormap: str) -> ByteArray:
    """The colours of 256 levels, (256, 3) RGB. Raises OnnxplainError for an unknown colormap."""
    if colormap not in COLORMAPS:
        near = difflib.get_close_matches(colormap, COLORMAPS, n=1)
        hint = f" (did you mean {near[0]}?)" if near else ""
        raise OnnxplainError(f"colormap: found {colormap!r}{hint}, expected one of {', '.join(COLORMAPS)}")
    # The palette is applied here because OpenCV divides by zero on a map without pixels.
    palette_bgr = cv2.applyColorMap(np.arange(256, dtype=np.uint8)[:, None], COLORMAPS[colormap])
    return palette_bgr[:, 0, ::-1].astype(np.uint8, copy=False)


def blend(
    image_hwc: ByteArray,
    heatmap_hw: FloatArray,
    colormap: str = "turbo",
    alpha: float = 0.5,
    window: tuple[slice, slice] = (slice(None), slice(None)),
) -> ByteArray:
    """``(1 − alpha) · image + alpha · colour(heat)`` inside `window` (rows, columns), the unchanged image outside.

    Both are uint8 RGB as displayed: no gamma correction, no contrast stretch. Raises OnnxplainError for different
    sizes, an unknown colormap, or an alpha outside [0, 1].
    """
    if image_hwc.shape[:2] != heatmap_hw.shape:
        raise OnnxplainError(
            f"overlay: found an image of {image_hwc.shape[:2]} for a heatmap of {heatmap_hw.shape}, "
            "expected the image that was explained"
        )
    if not 0 <= alpha <= 1:
        raise OnnxplainError(f"alpha: found {alpha}, expected a share from 0 (image only) to 1 (heat only)")
    palette, blended = _palette(colormap).astype(np.float32) * alpha, image_hwc.copy()
    inside, heat = blended[window], heatmap_hw[window]
    for rows in bands(*heat.shape):
        mixed = inside[rows].astype(np.float32) * (1 - alpha) + palette[_levels(heat[rows])]
        inside[rows] = np.rint(mixed).astype(np.uint8)
    return blended


def annotate(image_hwc: ByteArray, marks: Sequence[Mark], minimum_side: int = MINIMUM_SIDE) -> ByteArray:
    """Draw boxes and text on a picture, uint8 (H, W, 3) RGB. Lines and font grow with the picture.

    The picture is enlarged if its shorter side is below `minimum_side`, so that text can be read. Text is drawn on a
    filled label at the upper left corner of its box (without a box: of the image), always inside the image. Text that
    is too long is first drawn smaller, then cut off.
    """
    factor = _enlargement(image_hwc, minimum_side)
    canvas = Image.fromarray(_resized(image_hwc, factor))
    draw = ImageDraw.Draw(canvas)
    line = max(2, round(min(canvas.size) * 0.006))
    for mark in marks:
        if mark.box_xyxy is not None:
            _draw_box(draw, [side * factor for side in mark.box_xyxy], line, mark.colour)
    # Text labels come last, so that no line crosses a text.
    for mark in marks:
        corner = (0.0, 0.0) if mark.box_xyxy is None else (mark.box_xyxy[0] * factor, mark.box_xyxy[1] * factor)
        _draw_chip(draw, corner, mark.text, line, mark.colour)
    return np.array(canvas, np.uint8)


def caption(label: str, score: float) -> str:
    """A mark's text: the label and its score with two decimals, or "<0.01" for a score that would round to 0."""
    return f"{label} {score:.2f}" if score >= 0.005 else f"{label} <0.01"


def make_sheet(images: Sequence[ByteArray], titles: Sequence[str], columns: int | None = None) -> ByteArray:
    """Pictures side by side on white, each under its title: uint8 (H, W, 3) RGB.

    `columns`: pictures per row; None: all in one row. Raises OnnxplainError if there is no picture, or if the numbers
    of titles and pictures differ.
    """
    if not images or len(images) != len(titles):
        raise OnnxplainError(
            f"sheet: found {len(images)} pictures and {len(titles)} titles, expected one title per picture"
        )
    tiles = [_resized(image, _sheet_factor(image)) for image in images]
    height, width = (max(tile.shape[axis] for tile in tiles) for axis in (0, 1))
    columns = min(columns or len(tiles), len(tiles))
    rows = -(-len(tiles) // columns)
    size = max(_SMALLEST_FONT + 5, round(min(height, max(width, 120)) * 0.05))
    gap, header = round(size * 0.8), round(size * 1.9)
    sheet = Image.new(
        "RGB", (gap + columns * (width + gap), rows * (header + height) + gap + (rows - 1) * gap // 2), WHITE
    )
    draw = ImageDraw.Draw(sheet)
    for position, (tile, title) in enumerate(zip(tiles, titles, strict=True)):
        row, column = divmod(position, columns)
        left = gap + column * (width + gap)
        top = row * (header + height + gap // 2)
        text, font = _fit_text(title, width, size)
        draw.text((left + width / 2, top + header * 0.55), text, font=font, fill=BLACK, anchor="mm")
        inset = ((width - tile.shape[1]) // 2, (height - tile.shape[0]) // 2)
        sheet.paste(Image.fromarray(tile), (left + inset[0], top + header + inset[1]))
    return np.array(sheet, np.uint8)


def save_png(path: str | os.PathLike[str], image_hwc: ByteArray) -> None:
    """Write uint8 (H, W, 3) RGB as PNG, completely or not at all. Raises OnnxplainError if that fails."""
    encoded, data = cv2.imencode(".png", np.ascontiguousarray(image_hwc[..., ::-1]))
    if not encoded:
        raise OnnxplainError(f"{path}: found shape {image_hwc.shape}, expected a picture that PNG can hold")
    write_atomically(path, data.data)


def _enlargement(image_hwc: ByteArray, minimum_side: int) -> float:
    shorter, longer = sorted(int(side) for side in image_hwc.shape[:2])
    return max(1.0, min(minimum_side / shorter, _LONGEST_ENLARGED_SIDE / longer))


def _sheet_factor(image_hwc: ByteArray) -> float:
    return min(_enlargement(image_hwc, MINIMUM_SIDE), _LONGEST_SHEET_SIDE / int(max(image_hwc.shape[:2])))


def _resized(image_hwc: ByteArray, factor: float) -> ByteArray:
    if factor == 1:
        return image_hwc
    height, width = (max(1, round(side * factor)) for side in image_hwc.shape[:2])
    interpolation = cv2.INTER_CUBIC if factor > 1 else cv2.INTER_AREA
    return cv2.resize(image_hwc, (width, height), interpolation=interpolation).astype(np.uint8, copy=False)


def _draw_box(draw: ImageDraw.ImageDraw, box_xyxy: Sequence[float], line: int, colour: Colour) -> None:
    """A box inside the image with a black or white border, so that it is visible on any colour."""
    width, height = draw.im.size
    casing = max(1, line // 2)
    x1, y1 = (min(max(round(side), 0), limit - 1) for side, limit in zip(box_xyxy[:2], (width, height), strict=True))
    x2, y2 = (
        min(max(round(side) - 1, start), limit - 1)
        for side, start, limit in zip(box_xyxy[2:], (x1, y1), (width, height), strict=True)
    )
    draw.rectangle((x1, y1, x2, y2), outline=_contrast(colour), width=line + 2 * casing)
    if x2 - x1 > 2 * casing and y2 - y1 > 2 * casing:
        draw.rectangle((x1 + casing, y1 + casing, x2 - casing, y2 - casing), outline=colour, width=line)


def _draw_chip(draw: ImageDraw.ImageDraw, corner_xy: tuple[float, float], text: str, line: int, colour: Colour) -> None:
    width, height = draw.im.size
    size = max(_SMALLEST_FONT + 5, round(min(width, height) * 0.038))
    pad = round(size * 0.35)
    text, font = _fit_text(text, width - 2 * pad, size)
    if not text:
        return
    chip_width = round(font.getlength(text)) + 2 * pad
    chip_height = round(font.size * 1.55)
    left = min(max(round(corner_xy[0]), 0), width - chip_width)
    # Above the box; if there is no room, over its upper edge.
    top = min(max(round(corner_xy[1]) - chip_height, 0), max(0, height - chip_height))
    right, bottom = left + chip_width - 1, top + chip_height - 1
    draw.rectangle((left, top, right, bottom), fill=colour, outline=_contrast(colour), width=max(1, line // 2))
    middle = (left + chip_width / 2, top + chip_height / 2)
    draw.text(middle, text, font=font, fill=_contrast(colour), anchor="mm")


def _fit_text(text: str, width: float, size: int) -> tuple[str, ImageFont.FreeTypeFont]:
    """The text, and a font in which it fits the width: first smaller, down to two thirds, then cut off."""
    font = _load_font(size)
    smallest = max(_SMALLEST_FONT, round(size * 2 / 3))
    while font.getlength(text) > width and font.size > smallest:
        font = _load_font(round(font.size) - 1)
    whole = text
    while text and font.getlength(text) > width:
        whole = whole[:-1]
        text = f"{whole.rstrip()}…" if whole.strip() else ""
    return text, font


def _load_font(size: int) -> ImageFont.FreeTypeFont:
    font = ImageFont.load_default(size)
    if not isinstance(font, ImageFont.FreeTypeFont):
        raise OnnxplainError("pillow: found a build without FreeType, expected one from PyPI: run `pip install pillow`")
    return font


def _contrast(colour: Colour) -> Colour:
    red, green, blue = colour
    return BLACK if 0.299 * red + 0.587 * green + 0.114 * blue > 140 else WHITE
