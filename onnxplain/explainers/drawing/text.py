"""Text in any script: a font that has the letters, and text that fits a width."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from PIL import ImageDraw, ImageFont

from onnxplain.errors import OnnxplainError
from onnxplain.explainers.drawing.colours import Colour

SMALLEST_FONT = 9
# File names, best first. The first font of the system that has a letter draws it.
_FAMILIES = (
    "DejaVuSans", "NotoSans-Regular", "NotoSans", "LiberationSans-Regular", "Arial", "arial", "Arial Unicode",
    "segoeui", "Helvetica", "NotoSansCJK-Regular", "NotoSansCJKjp-Regular", "PingFang", "msyh", "msgothic", "malgun",
    "wqy-microhei", "wqy-zenhei", "DroidSansFallbackFull", "DroidSansFallback", "Hiragino Sans GB", "Nirmala",
    "NotoSansArabic-Regular", "NotoSansHebrew-Regular", "NotoSansDevanagari-Regular", "NotoSansThai-Regular",
    "unifont", "FreeSans", "Symbola",
)  # fmt: skip
_SUFFIXES = (".ttf", ".ttc", ".otf")
# No font has a letter here: what is drawn for it is drawn for every missing letter.
_NO_LETTER = "\U0010fffd"


@dataclass(frozen=True)
class TextLine:
    """A text with the fonts that draw it: runs of letters, one after the other, all of `size` pixels."""

    runs: tuple[tuple[str, ImageFont.FreeTypeFont], ...]
    size: int

    @property
    def width(self) -> float:
        """In pixels."""
        return sum(font.getlength(text) for text, font in self.runs)

    def draw(self, draw: ImageDraw.ImageDraw, left: float, middle: float, colour: Colour) -> None:
        """Draw from `left`, vertically centred at `middle`."""
        for text, font in self.runs:
            draw.text((left, middle), text, font=font, fill=colour, anchor="lm")
            left += font.getlength(text)


def fit_text(text: str, width: float, size: int) -> TextLine:
    """The text, drawn so that it fits the width: first smaller, down to two thirds, then cut off with an ellipsis."""
    line = set_text(text, size)
    smallest = max(SMALLEST_FONT, round(size * 2 / 3))
    while line.width > width and line.size > smallest:
        line = set_text(text, line.size - 1)
    whole = text
    while line.runs and line.width > width:
        whole = whole[:-1]
        line = set_text(f"{whole.rstrip()}…" if whole.strip() else "", line.size)
    return line


def set_text(text: str, size: int) -> TextLine:
    """The text in fonts that have its letters. A letter that no font has becomes its code point, such as U+13000."""
    if all(_has(_default(size), letter) for letter in text):
        return TextLine(((text, _default(size)),) if text else (), size)
    for font in _system_fonts(size):
        if all(_has(font, letter) for letter in text):
            return TextLine(((text, font),), size)
    runs: list[tuple[str, ImageFont.FreeTypeFont]] = []
    for letter in text:
        found = next((font for font in (_default(size), *_system_fonts(size)) if _has(font, letter)), None)
        part, font = (letter, found) if found is not None else (f"U+{ord(letter):04X}", _default(size))
        if runs and runs[-1][1] is font:
            runs[-1] = runs[-1][0] + part, font
        else:
            runs.append((part, font))
    return TextLine(tuple(runs), size)


@lru_cache(maxsize=64)
def _default(size: int) -> ImageFont.FreeTypeFont:
    font = ImageFont.load_default(size)
    if not isinstance(font, ImageFont.FreeTypeFont):
        raise OnnxplainError("pillow: found a build without FreeType, expected one from PyPI: run `pip install pillow`")
    return font


@lru_cache(maxsize=64)
def _system_fonts(size: int) -> tuple[ImageFont.FreeTypeFont, ...]:
    return tuple(_opened(size))


def _opened(size: int) -> Iterator[ImageFont.FreeTypeFont]:
    for path in _font_files():
        try:
            yield ImageFont.truetype(str(path), size)
        except OSError:
            continue  # A damaged font is no reason to draw nothing.


@lru_cache(maxsize=1)
def _font_files() -> tuple[Path, ...]:
    """The files of the known families in the folders where systems keep fonts, best first."""
    found: dict[str, Path] = {}
    for folder in _font_folders():
        for parent, _, names in os.walk(folder):
            for name in names:
                path = Path(parent, name)
                if path.suffix.lower() in _SUFFIXES and path.stem in _FAMILIES:
                    found.setdefault(path.stem, path)
    return tuple(found[family] for family in _FAMILIES if family in found)


def _font_folders() -> tuple[Path, ...]:
    home = Path.home()
    if sys.platform == "win32":
        return (Path(os.environ.get("WINDIR", "C:/Windows"), "Fonts"),)
    if sys.platform == "darwin":
        return Path("/System/Library/Fonts"), Path("/Library/Fonts"), home / "Library/Fonts"
    return Path("/usr/share/fonts"), Path("/usr/local/share/fonts"), home / ".local/share/fonts", home / ".fonts"


def _has(font: ImageFont.FreeTypeFont, letter: str) -> bool:
    """Whether the font draws something of its own for a letter."""
    return letter.isspace() or _drawn(font, letter) != _drawn(font, _NO_LETTER)


@lru_cache(maxsize=4096)
def _drawn(font: ImageFont.FreeTypeFont, letter: str) -> tuple[tuple[int, int], bytes]:
    mask = font.getmask(letter)
    return mask.size, bytes(mask)
