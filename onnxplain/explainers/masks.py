"""The random masks of RISE: a coarse grid of coin tosses, enlarged smoothly, at a random shift.

A mask is never stored: mask i is a function of the seed and i alone (a counter-based generator), so any batch
of masks can be drawn at any time, in any order, with the same result. And it is separable: with R and C the
bilinear matrices of the two axes, cut at the mask's shift, ``mask = R · grid · Cᵀ``.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
import numpy.typing as npt

from onnxplain.errors import OnnxplainError
from onnxplain.explainers.heatmap import FloatArray
from onnxplain.runtime.geometry import bilinear_matrix

# Philox, the counter-based generator, yields four 64-bit words per step of its counter.
_WORDS_PER_STEP = 4
_SEED_LIMIT = 2**64


@dataclass(frozen=True)
class MaskDraw:
    """The random part of n masks: `grids`, bool (n, grid, grid), and `shifts_yx`, int64 (n, 2) in pixels."""

    grids: npt.NDArray[np.bool_]
    shifts_yx: npt.NDArray[np.int64]


@dataclass(frozen=True)
class RandomMasks:
    """The masks of Petsiuk et al. 2018, section 3.2, as their published code makes them.

    Each of `grid` × `grid` cells is 1 with probability `keep`; the grid is enlarged bilinearly to (grid + 1)
    cells of ⌈H / grid⌉ × ⌈W / grid⌉ pixels and cut to H × W = `input_size_hw` at a shift drawn uniformly
    within one cell. Values lie in [0, 1]; at every pixel their expectation is `keep`. Raises OnnxplainError
    for parameters out of range.
    """

    input_size_hw: tuple[int, int]
    grid: int = 8
    keep: float = 0.5
    seed: int = 0

    def __post_init__(self) -> None:
        if self.grid < 1:
            raise OnnxplainError(f"grid: found {self.grid}, expected at least 1 cell per side")
        if not 0 < self.keep < 1:
            raise OnnxplainError(f"keep: found {self.keep}, expected a probability between 0 and 1, both excluded")
        if not 0 <= self.seed < _SEED_LIMIT:
            raise OnnxplainError(f"seed: found {self.seed}, expected a whole number from 0 to 2^64 − 1")

    @property
    def cell_hw(self) -> tuple[int, int]:
        """Pixels per cell; shifts run over 0 … cell − 1."""
        height, width = self.input_size_hw
        return -(-height // self.grid), -(-width // self.grid)

    @cached_property
    def _enlarging(self) -> tuple[FloatArray, FloatArray]:
        cells = self.grid + 1
        rows, columns = (
            bilinear_matrix(cells * cell, self.grid, self.grid / (cells * cell), 0.0) for cell in self.cell_hw
        )
        return rows, columns

    def draw(self, start: int, stop: int) -> MaskDraw:
        """Masks number start … stop − 1; each depends on the seed and its own number only."""
        cells = self.grid * self.grid
        steps = -(-(cells + 2) // _WORDS_PER_STEP)
        stream = np.random.Philox(key=self.seed, counter=start * steps)
        words = stream.random_raw((stop - start) * steps * _WORDS_PER_STEP).reshape(stop - start, -1)
        # The upper 53 bits as a float64 in [0, 1), as numpy's own generators do.
        uniform = (words >> np.uint64(11)) * 2.0**-53
        grids = (uniform[:, :cells] < self.keep).reshape(-1, self.grid, self.grid)
        shifts = (uniform[:, cells : cells + 2] * self.cell_hw).astype(np.int64)
        return MaskDraw(grids, shifts)

    def render(self, draw: MaskDraw) -> FloatArray:
        """The masks themselves, float32 (n, H, W) in [0, 1].

        One small product per mask: large ones would wake numpy's BLAS threads, which then spin against ONNX
        Runtime's between two batches.
        """
        masks = np.empty((len(draw.grids), *self.input_size_hw), np.float32)
        for mask, grid, (y, x) in zip(masks, draw.grids.astype(np.float32), draw.shifts_yx, strict=True):
            rows, columns = self._cut(y, x)
            np.matmul(rows, grid @ columns.T, out=mask)
        return masks

    def weighted_sum(self, grid_sums: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
        """Σ weight · mask, float64 (H, W), from sums of weighted grids per shift.

        `grid_sums`: float64 (cell height, cell width, grid, grid), at each shift (y, x) the sum of weight ·
        grid. Masks are linear in their grids, so a sum of any number of masks costs one product per shift.
        """
        height, width = self.input_size_hw
        total = np.zeros((height, width))
        for y, per_column in enumerate(grid_sums):
            strip = np.zeros((self.grid, width))
            for x, grid_sum in enumerate(per_column):
                strip += grid_sum @ self._cut(y, x)[1].T
            total += self._cut(y, 0)[0] @ strip
        return total

    def _cut(self, y: int, x: int) -> tuple[FloatArray, FloatArray]:
        (rows, columns), (height, width) = self._enlarging, self.input_size_hw
        return rows[y : y + height], columns[x : x + width]
