"""Sums over masks and their scores. Their size does not depend on the number of masks."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from onnxplain.explainers.masked.masks import MaskDraw, MaskGeometry
from onnxplain.explainers.rise.principal_components import PrincipalComponents
from onnxplain.explainers.rise.samplers import REPLICATES, replicate_of
from onnxplain.runtime.arrays import DoubleArray


@dataclass(frozen=True, eq=False)
class MaskSums:
    """Sums over masks, float64, for T targets, R replicates and K principal components z.

    `masks` (R,): the number of masks. `grids` (R, cell height, cell width, grid, grid): Σ grid at each shift.
    `scored_grids` (T, then as `grids`): Σ s · grid. `scores` (T, R): Σ s. `components` (R, K): Σ z.
    `component_products` (R, K, K): Σ z zᵀ. `scored_components` (T, R, K): Σ s · z. `lowest`, `highest` (T,): the
    range of the scores.
    """

    masks: DoubleArray
    grids: DoubleArray
    scored_grids: DoubleArray
    scores: DoubleArray
    components: DoubleArray
    component_products: DoubleArray
    scored_components: DoubleArray
    lowest: DoubleArray
    highest: DoubleArray

    @classmethod
    def empty(cls, geometry: MaskGeometry, targets: int, components: int) -> MaskSums:
        """The sums over no mask."""
        shape = (REPLICATES, *geometry.cell_hw, geometry.grid, geometry.grid)
        return cls(
            masks=np.zeros(REPLICATES),
            grids=np.zeros(shape),
            scored_grids=np.zeros((targets, *shape)),
            scores=np.zeros((targets, REPLICATES)),
            components=np.zeros((REPLICATES, components)),
            component_products=np.zeros((REPLICATES, components, components)),
            scored_components=np.zeros((targets, REPLICATES, components)),
            lowest=np.full(targets, np.inf),
            highest=np.full(targets, -np.inf),
        )

    def copy(self) -> MaskSums:
        """A copy with its own arrays. Adding to the original does not change it."""
        return MaskSums(**{name: array.copy() for name, array in vars(self).items()})

    def add(
        self, start: int, draw: MaskDraw, scores: npt.NDArray[np.floating], components: PrincipalComponents | None
    ) -> None:
        """Add masks number `start`, `start` + 1, … in this order. `scores`: (n, T)."""
        scores = scores.astype(np.float64)
        replicates = replicate_of(start + np.arange(len(draw)))
        places = (replicates, *draw.shifts_yx.T)
        np.add.at(self.grids, places, draw.grids)
        for scored_grids, score in zip(self.scored_grids, scores.T, strict=True):
            np.add.at(scored_grids, places, score[:, None, None] * draw.grids)
        values = None if components is None else components.values(draw)
        for replicate in range(REPLICATES):
            own = np.flatnonzero(replicates == replicate)
            self.masks[replicate] += len(own)
            self.scores[:, replicate] += scores[own].sum(axis=0)
            if values is not None:
                self.components[replicate] += values[own].sum(axis=0)
                self.component_products[replicate] += values[own].T @ values[own]
                self.scored_components[:, replicate] += scores[own].T @ values[own]
        np.minimum(self.lowest, scores.min(axis=0), out=self.lowest)
        np.maximum(self.highest, scores.max(axis=0), out=self.highest)
