"""The masks of RISE: a coarse grid of random bits, enlarged smoothly and shifted randomly.

A mask is separable: ``mask = R · grid · Cᵀ``, where R and C are the bilinear matrices of the two axes, cut at the
mask's shift. So a mask is stored as the bits of its grid and two integers, and a weighted sum of masks as small grids.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any, ClassVar, TypeAlias

import numpy as np
import numpy.typing as npt

from onnxplain.errors import OnnxplainError
from onnxplain.explainers.masked.mask_form import Brush, Draw, MaskForm
from onnxplain.machine.small_products import LARGEST_PRODUCT, small_product
from onnxplain.runtime.arrays import FloatArray
from onnxplain.runtime.geometry import bilinear_matrix

# Rows and columns of a map.
Pixels: TypeAlias = tuple[slice, slice]
# Cells per side of masks, at most for small boxes: with more cells, a map needs more masks.
DEFAULT_GRID, _FINEST_GRID = 8, 16
ALL_PIXELS: Pixels = (slice(None), slice(None))


@dataclass(frozen=True, eq=False)
class MaskDraw(Draw):
    """The random part of n masks: `grids`, bool (n, grid, grid), and `shifts_yx`, int64 (n, 2) in pixels."""

    grids: npt.NDArray[np.bool_]
    shifts_yx: npt.NDArray[np.int64]


@dataclass(frozen=True)
class MaskGeometry(MaskForm[MaskDraw]):
    """How grids become masks, as in the published code of Petsiuk et al. 2018 (section 3.2).

    Each of `grid` × `grid` cells is 1 with probability `keep`. The grid is enlarged bilinearly to (grid + 1) cells of
    ⌈H / grid⌉ × ⌈W / grid⌉ pixels and cut to H × W = `input_size_hw` at a shift drawn uniformly within one cell. Values
    lie in [0, 1]; their expectation is `keep` at every pixel. Raises OnnxplainError for parameters out of range.
    """

    input_size_hw: tuple[int, int]
    grid: int = DEFAULT_GRID
    keep: float = 0.5

    multiplies: ClassVar[bool] = True

    def __post_init__(self) -> None:
        if self.grid < 1:
            raise OnnxplainError(f"grid: found {self.grid}, expected at least 1 cell per side")
        if self.grid > (most := max(*self.input_size_hw, DEFAULT_GRID)):
            raise OnnxplainError(
                f"grid: found {self.grid}, expected at most {most} cells per side, the pixels of the model's input: "
                "use a coarser grid"
            )
        if not 0 < self.keep < 1:
            raise OnnxplainError(f"keep: found {self.keep}, expected a probability between 0 and 1, both excluded")

    @property
    def cell_hw(self) -> tuple[int, int]:
        """Pixels per cell; shifts run over 0 … cell − 1."""
        height, width = self.input_size_hw
        return -(-height // self.grid), -(-width // self.grid)

    @cached_property
    def rows(self) -> FloatArray:
        """float32 ((grid + 1) · cell height, grid): R before it is cut at a shift."""
        return self._enlarging(self.cell_hw[0])

    @cached_property
    def columns(self) -> FloatArray:
        """float32 ((grid + 1) · cell width, grid): C before it is cut at a shift."""
        return self._enlarging(self.cell_hw[1])

    def cut(self, y: int, x: int) -> tuple[FloatArray, FloatArray]:
        """R, float32 (H, grid), and C, float32 (W, grid), at the shift (y, x)."""
        height, width = self.input_size_hw
        return self.rows[y : y + height], self.columns[x : x + width]

    @property
    def graph(self) -> str:
        """Two products per mask."""
        return ""

    def brush(self) -> Brush[MaskDraw]:
        """``R · grid · Cᵀ``, one small product after the other.

        Large products would wake numpy's BLAS threads, which then compete with ONNX Runtime's threads between two
        batches.
        """
        height, width = self.input_size_hw
        rows, columns = self.rows, np.ascontiguousarray(self.columns.T)
        mask = np.empty(self.input_size_hw, np.float32)

        def paint(draw: MaskDraw) -> Iterator[FloatArray]:
            for grid, (y, x) in zip(draw.grids.astype(np.float32), draw.shifts_yx.tolist(), strict=True):
                strip = multiply(grid, columns[:, x : x + width])
                yield multiply(rows[y : y + height], strip, mask)

        return paint

    def constants(self, repeated: int) -> Mapping[str, npt.NDArray[Any]]:
        """The matrices, and which rows and columns of them a mask at shift 0 has."""
        height, width = self.input_size_hw
        return {
            "rows": self.rows,
            "columns": self.columns,
            "row_numbers": np.arange(height),
            "column_numbers": np.repeat(np.arange(width), repeated),
        }

    def arrays(self, draw: MaskDraw) -> Mapping[str, npt.NDArray[Any]]:
        """Bits and shifts, 80 bytes per mask for an 8 × 8 grid."""
        return {
            "grids": np.ascontiguousarray(draw.grids).view(np.uint8),
            "shifts_yx": np.ascontiguousarray(draw.shifts_yx),
        }

    def render(self, draw: MaskDraw) -> FloatArray:
        """The masks, float32 (n, H, W) in [0, 1]."""
        masks = np.empty((len(draw), *self.input_size_hw), np.float32)
        for mask, grid, (y, x) in zip(masks, draw.grids.astype(np.float32), draw.shifts_yx, strict=True):
            rows, columns = self.cut(y, x)
            np.matmul(rows, grid @ columns.T, out=mask)
        return masks

    def weighted_sum(self, grid_sums: npt.NDArray[np.float64], pixels: Pixels = ALL_PIXELS) -> npt.NDArray[np.float64]:
        """Σ weight · mask, float64 (…, H, W), from sums of weighted grids per shift.

        `grid_sums`: float64 (…, cell height, cell width, grid, grid), the sum of weight · grid at each shift (y, x).
        Masks are linear in their grids, so the cost depends on the number of shifts, not on the number of masks.
        `pixels`: rows and columns of the result to compute, (…, h, w).
        """
        (height, width), (cell_height, cell_width) = self.input_size_hw, self.cell_hw
        lead = grid_sums.shape[:-4]
        # One product per axis, over shifts and cells at once: (y, cell) → row and (x, cell) → column.
        to_columns = np.stack([self.columns[x : x + width][pixels[1]].T for x in range(cell_width)])
        to_rows = np.stack([self.rows[y : y + height][pixels[0]] for y in range(cell_height)], axis=1)
        to_columns = to_columns.reshape(cell_width * self.grid, -1).astype(np.float64)
        to_rows = to_rows.reshape(-1, cell_height * self.grid).astype(np.float64)
        per_row = grid_sums.swapaxes(-3, -2).reshape(*lead, cell_height, self.grid, cell_width * self.grid)
        strips = small_product(per_row, to_columns)
        return small_product(to_rows, strips.reshape(*lead, cell_height * self.grid, -1))

    def _enlarging(self, cell: int) -> FloatArray:
        cells = self.grid + 1
        return bilinear_matrix(cells * cell, self.grid, self.grid / (cells * cell), 0.0)


def multiply(left: FloatArray, right: FloatArray, out: FloatArray | None = None) -> FloatArray:
    """`small_product` of two matrices, split by rows, with an overhead small enough for the innermost loop."""
    product = np.empty((len(left), right.shape[1]), np.float32) if out is None else out
    step = max(1, LARGEST_PRODUCT // right.size)
    for start in range(0, len(left), step):
        np.matmul(left[start : start + step], right, out=product[start : start + step])
    return product


def choose_grid(boxes_xyxy: FloatArray, size_hw: tuple[int, int]) -> int:
    """Cells per side, 8 to 16, to explain boxes (T, 4) in pixels of an input of this size.

    A cell is at most half of a box's shorter side: of the median box, because all share the masks, and a finer grid
    needs more masks.
    """
    sides = np.maximum(boxes_xyxy[:, 2:] - boxes_xyxy[:, :2], 1)
    cells = 2 * (np.array(size_hw[::-1]) / sides).max(axis=1)
    return int(np.clip(np.ceil(np.median(cells)), DEFAULT_GRID, _FINEST_GRID))
