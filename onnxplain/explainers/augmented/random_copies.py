"""The copies of Augmented Grad-CAM: the model's input rotated, shifted and, on request, zoomed and mirrored."""

from __future__ import annotations

import math
from dataclasses import dataclass

import cv2
import numpy as np
import numpy.typing as npt

from onnxplain.errors import OnnxplainError
from onnxplain.runtime.arrays import FloatArray

Transforms = npt.NDArray[np.float64]

# Philox, the counter-based generator, yields four 64-bit words per step of its counter; a copy takes two steps.
_WORDS_PER_COPY = 8
_STEPS_PER_COPY = 2
_SEED_LIMIT = 2**64


@dataclass(frozen=True)
class RandomCopies:
    """Random copies of the model's input; the first is the input itself (Morbidelli et al. 2020).

    `copies`: how many, including the first. `rotation`: angles are uniform in ±rotation radians, about the centre.
    `translation`: shifts are uniform in ±translation times the input's side, per axis (published: 30 pixels of
    224). `zoom`: sizes are log-uniform between 1/zoom and zoom times the original; 1 means no zoom. `mirror`: every
    copy but the first is flipped left to right with probability ½.

    Copy i depends only on the seed and i. The random values of one option do not depend on the other options. Raises
    OnnxplainError for parameters out of range.
    """

    copies: int = 100
    rotation: float = 0.5
    translation: float = 30 / 224
    zoom: float = 1.0
    mirror: bool = False
    seed: int = 0

    def __post_init__(self) -> None:
        if self.copies < 1:
            raise OnnxplainError(f"copies: found {self.copies}, expected at least 1, which is the image itself")
        if not 0 <= self.rotation <= math.pi:
            raise OnnxplainError(f"rotation: found {self.rotation}, expected radians from 0 to π")
        if not 0 <= self.translation < 1:
            raise OnnxplainError(
                f"translation: found {self.translation}, expected a share of the input's side from 0 to below 1: "
                "a copy moved by a whole side shows nothing of the image"
            )
        if not 1 <= self.zoom < math.inf:
            raise OnnxplainError(f"zoom: found {self.zoom}, expected a factor of at least 1, which is no zoom")
        if not 0 <= self.seed < _SEED_LIMIT:
            raise OnnxplainError(f"seed: found {self.seed}, expected a whole number from 0 to 2^64 − 1")

    def draw(self, input_size_hw: tuple[int, int]) -> Transforms:
        """Maps from each copy to the input: float64 (copies, 2, 3), ``(x, y)_input = A · (x, y, 1)_copy``.

        Coordinates are continuous, in pixels of the model's input: pixel i covers [i, i + 1). With centre c, shift t,
        size z, rotation R and mirror F, A is the inverse of ``x_copy = c + t + z · R · F · (x_input − c)``.
        """
        stream = np.random.Philox(key=self.seed)
        words = stream.random_raw(self.copies * _WORDS_PER_COPY).reshape(self.copies, _WORDS_PER_COPY)
        # The upper 53 bits as a float64 in [0, 1), as numpy's own generators do; here moved to [−1, 1).
        uniform = (words >> np.uint64(11)) * 2.0**-52 - 1
        uniform[0] = 0
        height, width = input_size_hw
        sides, centre = np.array([width, height], np.float64), np.array([width, height]) / 2
        angles, shifts = self.rotation * uniform[:, 0], self.translation * uniform[:, 1:3] * sides
        sizes = self.zoom ** uniform[:, 3]
        flips = np.where(self.mirror & (uniform[:, 4] < 0), -1.0, 1.0)
        cosines, sines = np.cos(angles) / sizes, np.sin(angles) / sizes
        turns = np.stack([np.stack([flips * cosines, flips * sines], 1), np.stack([-sines, cosines], 1)], 1)
        offsets = centre - np.einsum("nij,nj->ni", turns, centre + shifts)
        return np.concatenate([turns, offsets[:, :, None]], axis=2)


def warp_copies(pixels_chw: FloatArray, transforms: Transforms, fill_c: FloatArray) -> FloatArray:
    """The copies, float32 (n, C, H, W), interpolated bilinearly. Outside the image they are `fill_c`, float32 (C,).

    `pixels_chw`: the model's normalised input. `transforms`: float64 (n, 2, 3) from `RandomCopies.draw`.
    """
    channels, height, width = pixels_chw.shape
    pixels_hwc = np.ascontiguousarray(pixels_chw.transpose(1, 2, 0))
    copies = np.empty((len(transforms), channels, height, width), np.float32)
    for copy, transform in zip(copies, transforms, strict=True):
        warped = cv2.warpAffine(
            pixels_hwc,
            count_from_centres(transform),
            (width, height),
            flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP,
            borderMode=cv2.BORDER_CONSTANT,
            borderValue=[float(value) for value in fill_c],
        )
        copy[:] = warped.reshape(height, width, channels).transpose(2, 0, 1)
    return copies


def warp_region(region: FloatArray | None, transforms: Transforms, input_size_hw: tuple[int, ...]) -> FloatArray | None:
    """The weights of a mask's cells in each copy, float32 (n, 1, h, w), from those in the input, (1, 1, h, w).

    All 0 for a copy that shows nothing of the region. None for the whole mask.
    """
    if region is None:
        return None
    cells_hw, (height, width) = region.shape[2:], input_size_hw
    enlarged = cv2.resize(region[0, 0], (width, height), interpolation=cv2.INTER_NEAREST)
    moved = warp_copies(np.asarray(enlarged, np.float32)[None], transforms, np.zeros(1, np.float32))[:, 0]
    shrunk = [cv2.resize(copy, cells_hw[::-1], interpolation=cv2.INTER_AREA) for copy in moved]
    return np.asarray(shrunk, np.float32)[:, None]


def count_from_centres(transform: Transforms) -> Transforms:
    """The same map for OpenCV, float64 (2, 3). OpenCV's coordinates are 0 at the centre of the first pixel."""
    indexed = transform.copy()
    indexed[:, 2] += transform[:, :2].sum(axis=1) / 2 - 0.5
    return indexed
