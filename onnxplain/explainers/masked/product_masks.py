"""Masks that are a small product, a column vector times a row vector or a few of them: windows, Gaussians, grids."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt

from onnxplain.explainers.masked.mask_form import Brush, Draw, MaskForm
from onnxplain.explainers.masked.masks import multiply
from onnxplain.runtime.arrays import FloatArray


@dataclass(frozen=True, eq=False)
class ProductDraw(Draw):
    """The factors of n masks: `rows`, float32 (n, H, k), and `columns`, float32 (n, k, W)."""

    rows: FloatArray
    columns: FloatArray


@dataclass(frozen=True)
class ProductMasks(MaskForm[ProductDraw]):
    """``M = rows · columns`` over an input of H × W, with `rank` columns and rows."""

    input_size_hw: tuple[int, int]
    rank: int = 1

    multiplies: ClassVar[bool] = True

    @property
    def graph(self) -> str:
        """A product per mask."""
        return "products."

    def brush(self) -> Brush[ProductDraw]:
        """See `MaskForm`."""
        mask = np.empty(self.input_size_hw, np.float32)

        def paint(draw: ProductDraw) -> Iterator[FloatArray]:
            for rows, columns in zip(draw.rows, draw.columns, strict=True):
                yield multiply(rows, columns, mask)

        return paint

    def constants(self, repeated: int) -> Mapping[str, npt.NDArray[Any]]:
        """The column of each number of a line."""
        return {"column_numbers": np.repeat(np.arange(self.input_size_hw[1]), repeated)}

    def arrays(self, draw: ProductDraw) -> Mapping[str, npt.NDArray[Any]]:
        """The factors."""
        return {"mask_rows": np.ascontiguousarray(draw.rows), "mask_columns": np.ascontiguousarray(draw.columns)}
