"""Masks of cells: each pixel shows what its cell says. Cells are any partition: a grid, superpixels, a label map."""

from __future__ import annotations

from collections.abc import Hashable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from onnxplain.explainers.masked.mask_form import Brush, Draw, MaskForm
from onnxplain.runtime.arrays import FloatArray


@dataclass(frozen=True, eq=False)
class CellDraw(Draw):
    """How much of each cell n masks show: `shown`, float32 (n, cells + 1) in [0, 1]; the last column is 1."""

    shown: FloatArray


@dataclass(frozen=True, eq=False)
class CellMasks(MaskForm[CellDraw]):
    """``M(x) = shown[labels(x)]``. `labels`: int64 (H, W), 0 … `count` − 1, or `count` for pixels that always show."""

    labels: npt.NDArray[np.int64]
    count: int

    @property
    def size_hw(self) -> tuple[int, int]:
        """Of the label map."""
        height, width = self.labels.shape
        return height, width

    @property
    def graph(self) -> str:
        """A Gather along the cells."""
        return "cells."

    @property
    def timing_key(self) -> Hashable:
        """The size: cells hardly matter."""
        return self.graph, self.size_hw

    def draw(self, shown: npt.NDArray[Any]) -> CellDraw:
        """A draw from how much of each cell is shown, (n, cells) of 0 to 1 or of bool."""
        return CellDraw(np.pad(np.asarray(shown, np.float32), ((0, 0), (0, 1)), constant_values=1))

    def brush(self) -> Brush[CellDraw]:
        """See `MaskForm`."""
        mask, labels = np.empty(self.size_hw, np.float32), self.labels

        def paint(draw: CellDraw) -> Iterator[FloatArray]:
            for shown in draw.shown:
                # No index is out of range; numpy only writes in place if it need not say so.
                yield np.take(shown, labels, out=mask, mode="clip")

        return paint

    def constants(self, repeated: int) -> Mapping[str, npt.NDArray[Any]]:
        """The label of each number of a line."""
        return {"labels": np.repeat(self.labels, repeated, axis=1)}

    def arrays(self, draw: CellDraw) -> Mapping[str, npt.NDArray[Any]]:
        """How much is shown."""
        return {"shown_of_cells": np.ascontiguousarray(draw.shown)}

    def trial(self, count: int) -> CellDraw:
        """Everything shown."""
        return self.draw(np.ones((count, self.count), np.float32))

    def paint_values(self, values: npt.NDArray[np.floating]) -> FloatArray:
        """A map, float32 (…, H, W), with the value of each cell, (…, cells), and 0 where there is none."""
        lead = np.zeros((*values.shape[:-1], 1))
        painted: FloatArray = np.concatenate([values, lead], axis=-1).astype(np.float32)[..., self.labels]
        return painted
