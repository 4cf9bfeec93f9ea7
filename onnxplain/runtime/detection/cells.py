"""The cells of a detector's levels: the candidates of most layouts belong to one each."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import numpy.typing as npt

from onnxplain.runtime.arrays import FloatArray


@dataclass(frozen=True, eq=False)
class Cells:
    """The cell of each candidate, float32 (M,) each.

    `column`, `row`: where it is in its level, from 0. `stride`: pixels of the input per cell. `across`, `down`: how
    many cells its level has.
    """

    column: FloatArray
    row: FloatArray
    stride: FloatArray
    across: FloatArray
    down: FloatArray

    def at(self, candidates: npt.NDArray[np.integer]) -> Cells:
        """The cells of some candidates."""
        arrays = (self.column, self.row, self.stride, self.across, self.down)
        return Cells(*(array[candidates] for array in arrays))


@lru_cache(maxsize=64)
def make_cells(size_hw: tuple[int, int], strides: tuple[int, ...], per_cell: tuple[int, ...]) -> Cells:
    """All cells, level by level in the order of `strides`, rows from above, `per_cell` candidates at each cell.

    One number in `per_cell` counts for all levels. Levels have as many cells as cover the input.
    """
    counts = per_cell if len(per_cell) == len(strides) else per_cell * len(strides)
    levels = [_level(size_hw, stride, count) for stride, count in zip(strides, counts, strict=True)]
    return Cells(*(np.concatenate(arrays).astype(np.float32) for arrays in zip(*levels, strict=True)))


def _level(size_hw: tuple[int, int], stride: int, count: int) -> Sequence[npt.NDArray[np.float64]]:
    down, across = (-(-side // stride) for side in size_hw)
    row, column = np.mgrid[:down, :across].reshape(2, -1).repeat(count, axis=1).astype(np.float64)
    return column, row, *(np.full(len(row), number, np.float64) for number in (stride, across, down))
