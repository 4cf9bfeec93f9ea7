"""Samplers draw the random part of RISE's masks.

Masks are never stored. Mask i depends only on the seed and i, so any range of masks can be drawn at any time, in any
order, with the same result.

Masks come in pairs, 2q and 2q + 1. Pair q belongs to replicate q mod 8. In every sampler the replicates are
independent, and all masks have the distribution of `MaskGeometry`.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt

from onnxplain.errors import OnnxplainError
from onnxplain.explainers.masked.masks import MaskDraw, MaskGeometry

REPLICATES = 8
SEED_LIMIT = 2**64
# Philox, the counter-based generator, yields four 64-bit words per step of its counter.
_WORDS_PER_STEP = 4
# Binary digits of a Sobol' point, and the number of dimensions that direction numbers are known for (Joe and Kuo 2008).
_SOBOL_BITS = 30
_SOBOL_DIMENSIONS = 21_201


def replicate_of(masks: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
    """The replicate, 0 … 7, of each mask number."""
    return masks // 2 % REPLICATES


@dataclass(frozen=True)
class MaskSampler(ABC):
    """Random masks of a geometry. Raises OnnxplainError for a seed that is not an integer from 0 to 2^64 − 1."""

    geometry: MaskGeometry
    seed: int = 0

    def __post_init__(self) -> None:
        if not 0 <= self.seed < SEED_LIMIT:
            raise OnnxplainError(f"seed: found {self.seed}, expected a whole number from 0 to 2^64 − 1")

    def draw(self, start: int, stop: int) -> MaskDraw:
        """Masks number start … stop − 1. Each depends only on the seed and its number."""
        cells, grid = self.geometry.grid**2, self.geometry.grid
        uniform = self._uniform(start, stop)
        grids = (uniform[:, :cells] < self.geometry.keep).reshape(-1, grid, grid)
        shifts = (uniform[:, cells:] * self.geometry.cell_hw).astype(np.int64)
        return MaskDraw(grids, shifts)

    @abstractmethod
    def _uniform(self, start: int, stop: int) -> npt.NDArray[np.float64]:
        """Numbers in [0, 1), (n, grid² + 2): one per cell, then two for the shift, y and x."""


@dataclass(frozen=True)
class IndependentSampler(MaskSampler):
    """The paper's masks: every cell is an independent random bit, from a counter-based generator (Philox)."""

    def _uniform(self, start: int, stop: int) -> npt.NDArray[np.float64]:
        numbers = self.geometry.grid**2 + 2
        steps = -(-numbers // _WORDS_PER_STEP)
        stream = np.random.Philox(key=self.seed, counter=start * steps)
        words = stream.random_raw((stop - start) * steps * _WORDS_PER_STEP).reshape(stop - start, -1)
        # The upper 53 bits as a float64 in [0, 1), as numpy's own generators do.
        uniform = (words[:, :numbers] >> np.uint64(11)).astype(np.float64) * 2.0**-53
        return uniform


@dataclass(frozen=True)
class SobolSampler(MaskSampler):
    """Antithetic pairs of low-discrepancy points, scrambled separately for each replicate.

    u is a point of the Sobol' sequence in grid² + 2 dimensions, with its binary digits flipped by a random pattern of
    the replicate (a digital shift, Owen 2003). The first mask of a replicate's pair j shows the cells where u < keep.
    The second mask shows the cells where 1 − u < keep, at the same shift. So if keep is ½, every pair shows every cell
    once. Points 2j and 2j + 1 of the sequence differ in the first digit of all dimensions. If keep is ½, only this
    digit matters and both would give the same pair, so every other point is skipped. Raises OnnxplainError for a grid
    with more cells than the sequence has dimensions.
    """

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.geometry.grid**2 + 2 > _SOBOL_DIMENSIONS:
            raise OnnxplainError(
                f"grid: found {self.geometry.grid}, expected at most {int((_SOBOL_DIMENSIONS - 2) ** 0.5)} cells per "
                'side for Sobol\' masks: use a coarser grid, or estimator="paper"'
            )

    def _uniform(self, start: int, stop: int) -> npt.NDArray[np.float64]:
        masks = np.arange(start, stop)
        points = masks // (2 * REPLICATES)
        digits = np.stack([self._point(2 * int(point)) for point in range(points[0], points[-1] + 1)])
        flipped = digits[points - points[0]] ^ self._patterns[replicate_of(masks)]
        uniform: npt.NDArray[np.float64] = (flipped + 0.5) * 2.0**-_SOBOL_BITS
        cells = self.geometry.grid**2
        opposite = masks % 2 == 1
        uniform[opposite, :cells] = 1 - uniform[opposite, :cells]
        return uniform

    @cached_property
    def _patterns(self) -> npt.NDArray[np.int64]:
        """The digits that each replicate flips, (replicates, dimensions)."""
        dimensions = self.geometry.grid**2 + 2
        words = np.random.Philox(key=self.seed).random_raw(REPLICATES * dimensions)
        return (words >> np.uint64(64 - _SOBOL_BITS)).astype(np.int64).reshape(REPLICATES, dimensions)

    @cached_property
    def _sequence(self) -> Any:
        from scipy.stats import qmc

        return qmc.Sobol(self.geometry.grid**2 + 2, scramble=False, bits=_SOBOL_BITS)

    def _point(self, number: int) -> npt.NDArray[np.int64]:
        """The digits of a point as integers. The sequence remembers its position; this only saves time."""
        if self._sequence.num_generated > number:
            self._sequence.reset()
        if number > self._sequence.num_generated:
            self._sequence.fast_forward(number - self._sequence.num_generated)
        (point,) = self._sequence.random(1)
        return np.asarray(point * 2.0**_SOBOL_BITS, np.int64)
