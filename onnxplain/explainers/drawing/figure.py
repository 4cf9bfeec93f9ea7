"""A figure: one explanation over its photo, with a title, what the model did not see, a box and a colour bar."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from PIL import Image, ImageDraw

from onnxplain.explainers.drawing.colours import BLACK, WHITE, blend, colourise, opacity_of
from onnxplain.explainers.drawing.marks import Mark, annotate, enlargement, line_width, resized
from onnxplain.explainers.drawing.text import SMALLEST_FONT, TextLine, fit_text
from onnxplain.picture_defaults import DEFAULT_ALPHA, DEFAULT_COLORMAP
from onnxplain.runtime.arrays import ByteArray, FloatArray

# Of the hatching, in pixels of a picture whose shorter side has 480.
_HATCH_STEP, _HATCH_LINE = 14, 1.5
_HATCH_OPACITY = 0.45


@dataclass(frozen=True)
class HeatStyle:
    """How heat is drawn: OpenCV's colour map, the largest opacity, and the share of the colours that is used.

    `largest`: the heat of the hottest pixel, 1 unless the map is drawn on the scale of a hotter one.
    """

    colormap: str
    alpha: float
    largest: float = 1.0


@dataclass(frozen=True)
class Figure:
    """What is drawn around the photo.

    `window`: the rows and columns that the model saw; the rest is outlined and hatched. `title`: lines above the photo,
    the first one larger. `scale`: the texts at the two ends of the colour bar, and in its middle; empty for no bar.
    """

    title: Sequence[str]
    window: tuple[slice, slice]
    marks: Sequence[Mark] = ()
    scale: tuple[str, str, str] | None = None
    style: HeatStyle = field(default_factory=lambda: HeatStyle(DEFAULT_COLORMAP, DEFAULT_ALPHA))

    def draw(self, image_hwc: ByteArray, heatmap_hw: FloatArray) -> ByteArray:
        """The picture, uint8 (H, W, 3) RGB: title, photo, colour bar. The photo keeps its place and its proportions."""
        style = self.style
        factor = enlargement(image_hwc)
        photo_hwc = blend(image_hwc, heatmap_hw * style.largest, style.colormap, style.alpha, self.window)
        photo_hwc = hatch_unseen(resized(photo_hwc, factor), _scaled(self.window, image_hwc.shape[:2], factor))
        marks = [mark.scaled(factor) for mark in self.marks]
        return self._framed(annotate(photo_hwc, marks))

    def _framed(self, picture_hwc: ByteArray) -> ByteArray:
        height, width = picture_hwc.shape[:2]
        size = max(SMALLEST_FONT + 4, round(min(height, width) * 0.042))
        pad = round(size * 0.45)
        lines = [
            fit_text(text, max(width - 2 * pad, 1), size if position == 0 else max(SMALLEST_FONT, round(size * 0.8)))
            for position, text in enumerate(self.title)
            if text
        ]
        head = pad + sum(_height(line) for line in lines) if lines else 0
        foot = 0 if self.scale is None else round(size * 2.4)
        canvas = Image.new("RGB", (width, head + height + foot), WHITE)
        canvas.paste(Image.fromarray(picture_hwc), (0, head))
        draw = ImageDraw.Draw(canvas)
        top = pad / 2
        for line in lines:
            line.draw(draw, pad, top + _height(line) / 2, BLACK)
            top += _height(line)
        if self.scale is not None:
            self._draw_bar(canvas, draw, head + height, (pad, size))
        return np.array(canvas, np.uint8)

    def _draw_bar(self, canvas: Image.Image, draw: ImageDraw.ImageDraw, top: int, sizes: tuple[int, int]) -> None:
        """The colours over a grey ground, as they look over a grey photo, and texts below."""
        pad, size = sizes
        width = canvas.width - 2 * pad
        if width < 8 or self.scale is None:
            return
        bar_height = max(4, round(size * 0.7))
        heat = np.linspace(0, 1, width, dtype=np.float32)[None].repeat(bar_height, axis=0)
        opacity = opacity_of(heat, self.style.alpha)[..., None]
        ground = np.full((*heat.shape, 3), 200, np.float32)
        colours = colourise(heat, self.style.colormap).astype(np.float32)
        bar = np.rint(ground * (1 - opacity) + colours * opacity).astype(np.uint8)
        canvas.paste(Image.fromarray(bar), (pad, top + pad))
        middle = top + pad + bar_height + size * 0.65
        left, centre, right = self.scale
        third = width / 3 - pad
        small = max(SMALLEST_FONT, round(size * 0.7))
        for text, place in ((left, 0.0), (centre, 0.5), (right, 1.0)):
            line = fit_text(text, third, small)
            line.draw(draw, pad + (width - line.width) * place, middle, BLACK)


def hatch_unseen(picture_hwc: ByteArray, window: tuple[slice, slice]) -> ByteArray:
    """Hatch what lies outside the window, rows and columns, and outline the window. The photo's colours stay."""
    height, width = picture_hwc.shape[:2]
    rows, columns = (slice(*part.indices(side)[:2]) for part, side in zip(window, (height, width), strict=True))
    if (rows.start, rows.stop, columns.start, columns.stop) == (0, height, 0, width):
        return picture_hwc
    unit = max(1.0, min(height, width) / 480)
    row, column = np.ogrid[:height, :width]
    on_line = (row + column) % round(_HATCH_STEP * unit) < max(1, round(_HATCH_LINE * unit))
    on_line[rows, columns] = False
    hatched = picture_hwc.copy()
    hatched[on_line] = np.rint(
        picture_hwc[on_line] * (1 - _HATCH_OPACITY) + _ink(picture_hwc[on_line]) * _HATCH_OPACITY
    ).astype(np.uint8)
    if rows.stop <= rows.start or columns.stop <= columns.start:
        return hatched
    canvas = Image.fromarray(hatched)
    outline = (columns.start, rows.start, columns.stop - 1, rows.stop - 1)
    ImageDraw.Draw(canvas).rectangle(outline, outline=WHITE, width=max(1, line_width(canvas.size) // 2))
    return np.array(canvas, np.uint8)


def _ink(colours: ByteArray) -> FloatArray:
    """White on dark pixels, black on light ones, so that hatching is seen on both."""
    dark = colours.mean(axis=-1, keepdims=True) < 128
    return np.where(dark, np.float32(255), np.float32(0)).astype(np.float32)


def _scaled(window: tuple[slice, slice], size_hw: tuple[int, ...], factor: float) -> tuple[slice, slice]:
    rows, columns = (
        slice(*(round(end * factor) for end in part.indices(side)[:2]))
        for part, side in zip(window, size_hw, strict=True)
    )
    return rows, columns


def _height(line: TextLine) -> int:
    return round(line.size * 1.45)
