"""Masks of cells: each pixel shows what its cell says. Cells are any partition: a grid, superpixels, a label map."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from onnxplain.explainers.masked.mask_form import Brush, Cutter, Draw, MaskForm
from onnxplain.runtime.arrays import FloatArray

# OpenCV's tables for labels of eight bits.
_MOST_LOOKED_UP = 256


@dataclass(frozen=True, eq=False)
class CellDraw(Draw):
    """How much of each cell n masks show: `shown`, float32 in [0, 1] or bool, (n, cells + 1); the last column is 1."""

    shown: npt.NDArray[Any]


@dataclass(frozen=True, eq=False)
class CellMasks(MaskForm[CellDraw]):
    """``M(x) = shown[labels(x)]``. `labels`: int64 (H, W), 0 … `count` − 1, or `count` for pixels that always show."""

    labels: npt.NDArray[np.int64]
    count: int

    @property
    def graph(self) -> str:
        """A Gather along the cells."""
        return "cells."

    def draw(self, shown: npt.NDArray[Any]) -> CellDraw:
        """A draw from how much of each cell is shown, (n, cells) of 0 to 1 or of bool."""
        shown = shown if shown.dtype == np.bool_ else np.asarray(shown, np.float32)
        return CellDraw(np.pad(shown, ((0, 0), (0, 1)), constant_values=1))

    def brush(self) -> Brush[CellDraw]:
        """See `MaskForm`."""
        mask, labels = np.empty(self.labels.shape, np.float32), self.labels

        def paint(draw: CellDraw) -> Iterator[FloatArray]:
            for shown in draw.shown.astype(np.float32, copy=False):
                # No index is out of range; numpy only writes in place if it need not say so.
                yield np.take(shown, labels, out=mask, mode="clip")

        return paint

    def cutter(self) -> Cutter[CellDraw]:
        """See `MaskForm`."""
        few = self.count < _MOST_LOOKED_UP
        mask, labels = np.empty(self.labels.shape, np.uint8), self.labels.astype(np.uint8) if few else self.labels
        table = np.zeros(_MOST_LOOKED_UP if few else self.count + 1, np.uint8)

        def cut(tables: npt.NDArray[np.uint8]) -> Iterator[npt.NDArray[np.uint8]]:
            for shown in tables:
                table[: len(shown)] = shown
                if few:
                    cv2.LUT(labels, table, dst=mask)
                else:
                    np.take(table, labels, out=mask, mode="clip")
                yield mask

        def only_whole_cells(draw: CellDraw) -> Iterator[npt.NDArray[np.uint8]] | None:
            shows = draw.shown == 1
            return cut(shows * np.uint8(255)) if (shows | (draw.shown == 0)).all() else None

        return only_whole_cells

    def constants(self, repeated: int) -> Mapping[str, npt.NDArray[Any]]:
        """The label of each number of a line."""
        return {"labels": np.repeat(self.labels, repeated, axis=1)}

    def arrays(self, draw: CellDraw) -> Mapping[str, npt.NDArray[Any]]:
        """How much is shown."""
        return {"shown_of_cells": np.ascontiguousarray(draw.shown, np.float32)}

    def paint_values(self, values: npt.NDArray[np.floating]) -> FloatArray:
        """A map, float32 (…, H, W), with the value of each cell, (…, cells), and 0 where there is none."""
        lead = np.zeros((*values.shape[:-1], 1))
        painted: FloatArray = np.concatenate([values, lead], axis=-1).astype(np.float32)[..., self.labels]
        return painted
