"""The generated digits data set: one handwritten digit per image, somewhere on a natural texture.

A scene depends only on (seed, split, index). So a split has no end, needs no disk, and any of its scenes can be
drawn again. Train, validation and test share no digit sample. Test shares no texture pixel with the others.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import overload

import cv2
import numpy as np
import numpy.typing as npt

from onnxplain.data.digits.glyphs import GLYPH_SIDE, Glyphs, load_glyphs
from onnxplain.data.digits.textures import TEXTURES, Split, texture_region
from onnxplain.data.record import Record
from onnxplain.errors import OnnxplainError

DIGIT_LABELS = tuple("0123456789")

SIDE_RANGE = (72, 128)
"""Height and width of a scene in pixels, drawn independently: the aspect ratio varies as in real photographs."""
INK_THRESHOLD = 0.5
"""A pixel belongs to the digit if the ink covers at least this share of the pixel."""

SPLIT_NUMBERS: dict[Split, int] = {"train": 0, "validation": 1, "test": 2}


@dataclass(frozen=True, eq=False)
class DigitScene:
    """One generated image and how it was made.

    `record`: image uint8 (H, W, 3) RGB, label, one box. `ink_hw`: float32 (H, W) in [0, 1], the digit's coverage
    of each pixel; the box is tight around ``ink_hw >= INK_THRESHOLD``. `sample`: the digit's position in
    scikit-learn's data set. `texture`: the photograph's name.
    """

    record: Record
    ink_hw: npt.NDArray[np.float32]
    sample: int
    texture: str


class DigitScenes(Sequence[Record]):
    """`count` scenes of a split from scene `start` on, as records; each is drawn on access and not kept.

    `size_hw` fixes the size of every image; by default it varies from scene to scene (SIDE_RANGE).
    """

    def __init__(
        self, split: Split, count: int, *, seed: int = 0, size_hw: tuple[int, int] | None = None, start: int = 0
    ) -> None:
        if count < 0:
            raise OnnxplainError(f"digits: found {count} scenes, expected at least 0")
        self.split, self.length, self.seed, self.size_hw, self.start = split, count, seed, size_hw, start

    def __len__(self) -> int:
        return self.length

    @overload
    def __getitem__(self, index: int) -> Record: ...
    @overload
    def __getitem__(self, index: slice) -> DigitScenes: ...
    def __getitem__(self, index: int | slice) -> Record | DigitScenes:
        if isinstance(index, slice):
            first, stop, step = index.indices(self.length)
            if step != 1:
                raise OnnxplainError(f"digits: found a slice of step {step}, expected step 1")
            return DigitScenes(
                self.split, max(0, stop - first), seed=self.seed, size_hw=self.size_hw, start=self.start + first
            )
        if not -self.length <= index < self.length:
            raise IndexError(f"scene {index} of {self.length}")
        return draw_scene(self.split, self.start + index % self.length, seed=self.seed, size_hw=self.size_hw).record

    def __iter__(self) -> Iterator[Record]:
        return (self[index] for index in range(self.length))


def check_drawing(
    split: Split, index: int, seed: int, size_hw: tuple[int, int] | None, *, smallest: int, what: str
) -> None:
    """Raise OnnxplainError for an unknown split, a negative number, or a side that is too small. `what` is drawn."""
    if split not in SPLIT_NUMBERS:
        raise OnnxplainError(f"digits: found split {split!r}, expected one of {', '.join(SPLIT_NUMBERS)}")
    if size_hw is not None and min(size_hw) < smallest:
        raise OnnxplainError(
            f"digits: found size {size_hw[0]}x{size_hw[1]}, expected sides of at least {smallest} pixels"
        )
    if seed < 0 or index < 0:
        raise OnnxplainError(f"digits: found seed {seed}, {what} {index}, expected numbers of at least 0")


def draw_scene(
    split: Split, index: int, *, seed: int = 0, size_hw: tuple[int, int] | None = None, texture: str | None = None
) -> DigitScene:
    """Draw scene `index` of `split`.

    `size_hw` and `texture` replace the values that are otherwise drawn at random. Raises OnnxplainError for an unknown
    split or texture, a negative number, a size under 32 pixels, and if the `train` extra is missing.
    """
    check_drawing(split, index, seed, size_hw, smallest=32, what="scene")
    rng = np.random.default_rng([seed, SPLIT_NUMBERS[split], index])
    height, width = (int(side) for side in rng.integers(SIDE_RANGE[0], SIDE_RANGE[1] + 1, size=2))
    height, width = size_hw or (height, width)
    drawn = TEXTURES[rng.integers(len(TEXTURES))]
    image = draw_background(rng, texture_region(texture or drawn, split), (height, width))
    glyphs = load_glyphs(split)
    glyph = int(rng.integers(len(glyphs)))
    patch = warp_glyph(rng, glyphs, glyph, (height, width))
    top = int(rng.integers(height - patch.shape[0] + 1))
    left = int(rng.integers(width - patch.shape[1] + 1))
    window = (slice(top, top + patch.shape[0]), slice(left, left + patch.shape[1]))
    image[window] = paint(rng, image[window], patch)
    ink_hw = np.zeros((height, width), np.float32)
    ink_hw[window] = patch
    x1, y1, x2, y2 = ink_box(patch)
    record = Record(
        image=image,
        label=DIGIT_LABELS[glyphs.classes[glyph]],
        boxes_xyxy=np.array([[left + x1, top + y1, left + x2, top + y2]], np.float32),
        name=f"digits-{split}-{seed}-{index}",
    )
    return DigitScene(record, ink_hw, int(glyphs.samples[glyph]), texture or drawn)


def ink_box(ink_hw: npt.NDArray[np.float32]) -> tuple[int, int, int, int]:
    """Tight box (x1, y1, x2, y2) in pixels around the ink; x2 and y2 are one past the last inked pixel."""
    inked = ink_hw >= INK_THRESHOLD
    columns, rows = np.flatnonzero(inked.any(axis=0)), np.flatnonzero(inked.any(axis=1))
    if not len(columns):
        raise OnnxplainError("digits: found no pixel with ink, expected at least one")
    return int(columns[0]), int(rows[0]), int(columns[-1]) + 1, int(rows[-1]) + 1


def draw_background(
    rng: np.random.Generator, region: npt.NDArray[np.uint8], size_hw: tuple[int, int]
) -> npt.NDArray[np.uint8]:
    """A crop of `region` with random place, zoom, brightness and tint; mirrored with probability 0.5."""
    zoom = max(rng.uniform(0.7, 1.8), size_hw[0] / region.shape[0], size_hw[1] / region.shape[1])
    crop_h, crop_w = (min(round(side / zoom), limit) for side, limit in zip(size_hw, region.shape[:2], strict=True))
    top = int(rng.integers(region.shape[0] - crop_h + 1))
    left = int(rng.integers(region.shape[1] - crop_w + 1))
    crop = region[top : top + crop_h, left : left + crop_w]
    if rng.random() < 0.5:
        crop = np.ascontiguousarray(crop[:, ::-1])
    image = cv2.resize(crop, size_hw[::-1], interpolation=cv2.INTER_LINEAR if zoom >= 1 else cv2.INTER_AREA)
    gain = rng.uniform(0.7, 1.1) * rng.uniform(0.88, 1.12, size=3)
    tones = np.arange(256)[:, None, None] * gain + rng.uniform(-20, 30)
    toned: npt.NDArray[np.uint8] = cv2.LUT(image, np.clip(np.rint(tones), 0, 255).astype(np.uint8)).astype(np.uint8)
    return toned


def warp_glyph(
    rng: np.random.Generator, glyphs: Glyphs, glyph: int, size_hw: tuple[int, int]
) -> npt.NDArray[np.float32]:
    """The digit's coverage, float32 (h, w), cropped to the part that is not zero; no larger than the image."""
    angle, shear = np.deg2rad(rng.uniform(-12, 12)), rng.uniform(-0.15, 0.15)
    scale = rng.uniform(0.42, 0.95) * min(size_hw) / GLYPH_SIDE
    aspect = np.exp(rng.uniform(-0.2, 0.2))
    rotation = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    linear = rotation @ np.array([[1, shear], [0, 1]]) @ np.diag([scale * aspect, scale / aspect])
    extent_wh = np.abs(linear).sum(axis=1) * GLYPH_SIDE
    shrink = min(1.0, *(np.array(size_hw[::-1]) / extent_wh))
    linear *= shrink
    canvas_wh = np.floor(extent_wh * shrink).astype(int)
    # Here pixel i covers [i, i + 1). OpenCV puts its centre at i, so half a pixel is subtracted.
    shift = (canvas_wh - 1) / 2 - linear @ np.full(2, (GLYPH_SIDE - 1) / 2)
    warped = cv2.warpAffine(
        glyphs.ink[glyph], np.column_stack([linear, shift]), canvas_wh.tolist(), flags=cv2.INTER_LINEAR
    )
    pen = rng.uniform(0.26, 0.44)
    coverage = np.clip((warped.astype(np.float32) / 255 - pen) / 0.3, 0, 1).astype(np.float32, copy=False)
    inked = coverage > 0
    rows, columns = np.flatnonzero(inked.any(axis=1)), np.flatnonzero(inked.any(axis=0))
    return coverage[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]


def paint(
    rng: np.random.Generator, under: npt.NDArray[np.uint8], coverage: npt.NDArray[np.float32]
) -> npt.NDArray[np.uint8]:
    """Blend one colour, lighter or darker than the mean of the covered pixels, over `under` (h, w, 3)."""
    contrast = rng.uniform(75, 160)
    level = float(np.einsum("hw,hwc->", coverage, under, dtype=np.float64)) / (3 * float(coverage.sum()))
    lighter = rng.random() < 0.5
    if level + contrast > 255 or level - contrast < 0:
        lighter = level < 127.5
    tint = rng.uniform(-35, 35, size=3)
    colour = level + (contrast if lighter else -contrast) + tint - tint.mean()
    alpha = (coverage * rng.uniform(0.85, 1.0))[:, :, None]
    painted: npt.NDArray[np.uint8] = np.rint(under + alpha * (np.clip(colour, 0, 255) - under)).astype(np.uint8)
    return painted
