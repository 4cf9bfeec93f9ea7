"""Masks that hide one window each."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from onnxplain.explainers.masked.mask_form import Brush, Cutter, Draw, MaskForm
from onnxplain.explainers.masked.product_masks import ProductDraw, ProductMasks
from onnxplain.runtime.arrays import FloatArray


@dataclass(frozen=True, eq=False)
class WindowDraw(Draw):
    """The windows of n masks: `spans_yx`, int64 (n, 4) in pixels.

    First row, row behind the last, first column, column behind the last.
    """

    spans_yx: npt.NDArray[np.int64]


@dataclass(frozen=True)
class WindowMasks(MaskForm[WindowDraw]):
    """``M`` is 0 in a window and 1 outside, over an input of H × W. On the device it is a product of rank 2."""

    input_size_hw: tuple[int, int]

    @property
    def graph(self) -> str:
        """A product per mask."""
        return self._products.graph

    def brush(self) -> Brush[WindowDraw]:
        """See `MaskForm`."""
        mask = np.empty(self.input_size_hw, np.float32)

        def paint(draw: WindowDraw) -> Iterator[FloatArray]:
            for top, bottom, left, right in draw.spans_yx.tolist():
                mask.fill(1)
                mask[top:bottom, left:right] = 0
                yield mask

        return paint

    def cutter(self) -> Cutter[WindowDraw]:
        """See `MaskForm`."""
        mask = np.empty(self.input_size_hw, np.uint8)

        def cut(draw: WindowDraw) -> Iterator[npt.NDArray[np.uint8]]:
            for top, bottom, left, right in draw.spans_yx.tolist():
                mask.fill(255)
                mask[top:bottom, left:right] = 0
                yield mask

        return cut

    def constants(self, repeated: int) -> Mapping[str, npt.NDArray[Any]]:
        """Those of products."""
        return self._products.constants(repeated)

    def arrays(self, draw: WindowDraw) -> Mapping[str, npt.NDArray[Any]]:
        """The factors of ``1 − row · column``."""
        top, bottom, left, right = (side[:, None] for side in draw.spans_yx.T)
        row, column = np.arange(self.input_size_hw[0]), np.arange(self.input_size_hw[1])
        inside_y = ((row >= top) & (row < bottom)).astype(np.float32)
        inside_x = ((column >= left) & (column < right)).astype(np.float32)
        rows = np.stack([np.ones_like(inside_y), -inside_y], axis=2)
        columns = np.stack([np.ones_like(inside_x), inside_x], axis=1)
        return self._products.arrays(ProductDraw(rows, columns))

    @property
    def _products(self) -> ProductMasks:
        return ProductMasks(self.input_size_hw, 2)
