"""Generated images for detectors: several handwritten digits per image, on a natural texture.

As in `scenes`, an image depends only on (seed, split, index), and the splits share no digit sample and no texture
pixel between test and the others.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from onnxplain.data.digits.glyphs import load_glyphs
from onnxplain.data.digits.scenes import (
    SPLIT_NUMBERS,
    check_drawing,
    draw_background,
    ink_box,
    paint,
    warp_glyph,
)
from onnxplain.data.digits.textures import TEXTURES, Split, texture_region

MOST_DIGITS = 4
GROUP_SIDES = (128, 176)
"""Height and width of an image in pixels, drawn independently."""
WINDOW_SHARES = (0.5, 0.8)
"""Each digit is drawn as in a square scene with this share of the image's shorter side."""
_STREAM = 1
"""Keeps the random numbers apart from those of scenes with one digit."""
_MOST_TRIES = 20
_GAP = 2


@dataclass(frozen=True, eq=False)
class DigitGroup:
    """One generated image, uint8 (H, W, 3) RGB, with its M digits: boxes float32 (M, 4) xyxy in pixels, tight around
    the ink, and digits int64 (M,). No two boxes overlap."""

    image: npt.NDArray[np.uint8]
    boxes_xyxy: npt.NDArray[np.float32]
    class_ids: npt.NDArray[np.int64]


def draw_group(
    split: Split, index: int, *, seed: int = 0, size_hw: tuple[int, int] | None = None, texture: str | None = None
) -> DigitGroup:
    """Draw image `index` of `split`, with 1 to 4 digits.

    `size_hw` and `texture` replace the values that are otherwise drawn at random. Raises OnnxplainError for an unknown
    split or texture, a negative number, a size under 64 pixels, and if the `train` extra is missing.
    """
    check_drawing(split, index, seed, size_hw, smallest=64, what="image")
    rng = np.random.default_rng([seed, SPLIT_NUMBERS[split], index, _STREAM])
    height, width = (int(side) for side in rng.integers(GROUP_SIDES[0], GROUP_SIDES[1] + 1, size=2))
    height, width = size_hw or (height, width)
    drawn = TEXTURES[rng.integers(len(TEXTURES))]
    image = draw_background(rng, texture_region(texture or drawn, split), (height, width))
    glyphs = load_glyphs(split)
    boxes: list[tuple[int, int, int, int]] = []
    class_ids: list[int] = []
    for _ in range(int(rng.integers(1, MOST_DIGITS + 1))):
        glyph = int(rng.integers(len(glyphs)))
        side = round(float(rng.uniform(*WINDOW_SHARES)) * min(height, width))
        patch = warp_glyph(rng, glyphs, glyph, (side, side))
        free = _find_room(rng, patch.shape, (height, width), boxes)
        if free is None:
            continue
        top, left = free
        window = (slice(top, top + patch.shape[0]), slice(left, left + patch.shape[1]))
        image[window] = paint(rng, image[window], patch)
        x1, y1, x2, y2 = ink_box(patch)
        boxes.append((left + x1, top + y1, left + x2, top + y2))
        class_ids.append(int(glyphs.classes[glyph]))
    return DigitGroup(image, np.array(boxes, np.float32), np.array(class_ids, np.int64))


def _find_room(
    rng: np.random.Generator,
    shape_hw: tuple[int, ...],
    size_hw: tuple[int, int],
    taken_xyxy: list[tuple[int, int, int, int]],
) -> tuple[int, int] | None:
    """Top and left of a place at least two pixels from all others; None if no random place is free."""
    height, width = shape_hw
    for _ in range(_MOST_TRIES):
        top = int(rng.integers(size_hw[0] - height + 1))
        left = int(rng.integers(size_hw[1] - width + 1))
        if not any(
            left < x2 + _GAP and x1 < left + width + _GAP and top < y2 + _GAP and y1 < top + height + _GAP
            for x1, y1, x2, y2 in taken_xyxy
        ):
            return top, left
    return None
