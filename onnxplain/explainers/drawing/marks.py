"""Boxes with a line of text, drawn on a picture."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import cv2
import numpy as np
from PIL import Image, ImageDraw

from onnxplain.explainers.drawing.colours import WHITE, Colour, contrast
from onnxplain.explainers.drawing.text import SMALLEST_FONT, fit_text
from onnxplain.runtime.arrays import ByteArray
from onnxplain.runtime.box import Corners

# Pictures smaller than this are enlarged so that text can be read, but not past the longest side.
MINIMUM_SIDE = 480
_LONGEST_ENLARGED_SIDE = 2048
# Of a dashed line, in line widths.
_DASH, _GAP = 5, 4


@dataclass(frozen=True)
class Mark:
    """A box, x1, y1, x2, y2 in pixels of the image, with a line of text. Either may be left out.

    `dashed`: the box says little, for example because it covers the whole image.
    """

    box_xyxy: Corners | None = None
    text: str = ""
    colour: Colour = WHITE
    dashed: bool = False

    def scaled(self, factor: float) -> Mark:
        """The same mark in a picture that is larger by that factor."""
        if self.box_xyxy is None:
            return self
        x1, y1, x2, y2 = (side * factor for side in self.box_xyxy)
        return replace(self, box_xyxy=(x1, y1, x2, y2))


def annotate(image_hwc: ByteArray, marks: Sequence[Mark], minimum_side: int = MINIMUM_SIDE) -> ByteArray:
    """Draw boxes and text on a picture, uint8 (H, W, 3) RGB. Lines and font grow with the picture.

    The picture is enlarged if its shorter side is below `minimum_side`, so that text can be read. Text is drawn on a
    filled label at the upper left corner of its box (without a box: of the image), always inside the image. Text that
    is too long is first drawn smaller, then cut off.
    """
    factor = enlargement(image_hwc, minimum_side)
    canvas = Image.fromarray(resized(image_hwc, factor))
    draw = ImageDraw.Draw(canvas)
    line = line_width(canvas.size)
    for mark in marks:
        if mark.box_xyxy is not None:
            _draw_box(draw, [side * factor for side in mark.box_xyxy], line, mark)
    # Text labels come last, so that no line crosses a text.
    for mark in marks:
        corner = (0.0, 0.0) if mark.box_xyxy is None else (mark.box_xyxy[0] * factor, mark.box_xyxy[1] * factor)
        _draw_chip(draw, corner, mark.text, line, mark.colour)
    return np.array(canvas, np.uint8)


def caption(label: str, score: float) -> str:
    """A mark's text: the label and its score with two decimals, or "<0.01" for a score that would round to 0."""
    return f"{label} {score:.2f}" if score >= 0.005 else f"{label} <0.01"


def line_width(size_wh: tuple[int, int]) -> int:
    """The width of lines in a picture of that size, in pixels."""
    return max(2, round(min(size_wh) * 0.006))


def enlargement(image_hwc: ByteArray, minimum_side: int = MINIMUM_SIDE) -> float:
    """By how much a small picture is enlarged so that text on it can be read."""
    shorter, longer = sorted(int(side) for side in image_hwc.shape[:2])
    return max(1.0, min(minimum_side / shorter, _LONGEST_ENLARGED_SIDE / longer))


def resized(image_hwc: ByteArray, factor: float) -> ByteArray:
    """The picture scaled by a factor."""
    if factor == 1:
        return image_hwc
    height, width = (max(1, round(side * factor)) for side in image_hwc.shape[:2])
    interpolation = cv2.INTER_CUBIC if factor > 1 else cv2.INTER_AREA
    return cv2.resize(image_hwc, (width, height), interpolation=interpolation).astype(np.uint8, copy=False)


def _draw_box(draw: ImageDraw.ImageDraw, box_xyxy: Sequence[float], line: int, mark: Mark) -> None:
    """A box inside the image with a black or white border, so that it is visible on any colour."""
    width, height = draw.im.size
    casing = max(1, line // 2)
    x1, y1 = (min(max(round(side), 0), limit - 1) for side, limit in zip(box_xyxy[:2], (width, height), strict=True))
    x2, y2 = (
        min(max(round(side) - 1, start), limit - 1)
        for side, start, limit in zip(box_xyxy[2:], (x1, y1), (width, height), strict=True)
    )
    whole, inner = line + 2 * casing, x2 - x1 > 2 * casing and y2 - y1 > 2 * casing
    if mark.dashed:
        _draw_dashes(draw, (x1, y1, x2, y2), whole, line, mark.colour)
        return
    draw.rectangle((x1, y1, x2, y2), outline=contrast(mark.colour), width=whole)
    if inner:
        draw.rectangle((x1 + casing, y1 + casing, x2 - casing, y2 - casing), outline=mark.colour, width=line)


def _draw_dashes(
    draw: ImageDraw.ImageDraw, box: tuple[int, int, int, int], whole: int, line: int, colour: Colour
) -> None:
    """The four sides of a box as dashes, each a rectangle of the colour on a larger one of its contrast."""
    x1, y1, x2, y2 = box
    step, dash, casing = (_DASH + _GAP) * line, _DASH * line, (whole - line) // 2
    sides = [(start, min(start + dash, x2), y, True) for y in (y1, y2 - whole + 1) for start in range(x1, x2, step)]
    sides += [(start, min(start + dash, y2), x, False) for x in (x1, x2 - whole + 1) for start in range(y1, y2, step)]
    for start, stop, across, horizontal in sides:
        for inset, fill in ((0, contrast(colour)), (casing, colour)):
            along, over = (start + inset, stop - inset), (across + inset, across + whole - 1 - inset)
            if along[0] <= along[1] and over[0] <= over[1]:
                (left, right), (top, bottom) = (along, over) if horizontal else (over, along)
                draw.rectangle((left, top, right, bottom), fill=fill)


def _draw_chip(draw: ImageDraw.ImageDraw, corner_xy: tuple[float, float], text: str, line: int, colour: Colour) -> None:
    width, height = draw.im.size
    size = max(SMALLEST_FONT + 5, round(min(width, height) * 0.038))
    pad = round(size * 0.35)
    fitted = fit_text(text, width - 2 * pad, size)
    if not fitted.runs:
        return
    chip_width, chip_height = round(fitted.width) + 2 * pad, round(fitted.size * 1.55)
    left = min(max(round(corner_xy[0]), 0), width - chip_width)
    # Above the box; if there is no room, over its upper edge.
    top = min(max(round(corner_xy[1]) - chip_height, 0), max(0, height - chip_height))
    right, bottom = left + chip_width - 1, top + chip_height - 1
    draw.rectangle((left, top, right, bottom), fill=colour, outline=contrast(colour), width=max(1, line // 2))
    fitted.draw(draw, left + (chip_width - fitted.width) / 2, top + chip_height / 2, contrast(colour))
