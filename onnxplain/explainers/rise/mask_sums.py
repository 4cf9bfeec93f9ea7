"""Sums over masks and their scores. Their size does not depend on the number of masks."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from onnxplain.explainers.masked.masks import MaskDraw, MaskGeometry
from onnxplain.explainers.rise.principal_components import PrincipalComponents
from onnxplain.explainers.rise.samplers import REPLICATES, replicate_of
from onnxplain.runtime.arrays import DoubleArray

# δ over the mean score. It keeps the logarithm of small scores from deciding the fit; 0.1 to 1 change little.
FLOOR_SHARE = 0.3


@dataclass(frozen=True, eq=False)
class MaskSums:
    """Sums over masks, float64, for T targets, R replicates, K principal components z, and the first F of them.

    `masks` (R,): the number of masks. `grids` (R, cell height, cell width, grid, grid): Σ grid at each shift.
    `scored_grids` (T, then as `grids`): Σ s · grid. `scores` (T, R): Σ s. `components` (R, K): Σ z.
    `component_products` (R, F, K): Σ z zᵀ. `scored_components` (T, R, K): Σ s · z. `lowest`, `highest` (T,): the
    range of the scores.
    For a log-linear model, with y = log(max(s, 0) + δ): `log_floors` (T,): δ, a share of the mean score of the first
    block of masks. `log_scores` (T, R): Σ y. `log_squares` (T, R): Σ y². `log_components` (T, R, F): Σ y · z. They are
    NaN where the first scores have no positive mean. Else T is 0 here.
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
    log_floors: DoubleArray
    log_scores: DoubleArray
    log_squares: DoubleArray
    log_components: DoubleArray

    @classmethod
    def empty(
        cls, geometry: MaskGeometry, targets: int, components: PrincipalComponents | None, *, logs: bool = False
    ) -> MaskSums:
        """The sums over no mask. `logs`: also those for a log-linear model."""
        count, fitted = (0, 0) if components is None else (len(components), components.fitted)
        logged = targets if logs else 0
        shape = (REPLICATES, *geometry.cell_hw, geometry.grid, geometry.grid)
        return cls(
            masks=np.zeros(REPLICATES),
            grids=np.zeros(shape),
            scored_grids=np.zeros((targets, *shape)),
            scores=np.zeros((targets, REPLICATES)),
            components=np.zeros((REPLICATES, count)),
            component_products=np.zeros((REPLICATES, fitted, count)),
            scored_components=np.zeros((targets, REPLICATES, count)),
            lowest=np.full(targets, np.inf),
            highest=np.full(targets, -np.inf),
            log_floors=np.zeros(logged),
            log_scores=np.zeros((logged, REPLICATES)),
            log_squares=np.zeros((logged, REPLICATES)),
            log_components=np.zeros((logged, REPLICATES, fitted)),
        )

    def copy(self) -> MaskSums:
        """A copy with its own arrays. Adding to the original does not change it."""
        return MaskSums(**{name: array.copy() for name, array in vars(self).items()})

    def add(
        self, start: int, draw: MaskDraw, scores: npt.NDArray[np.floating], components: PrincipalComponents | None
    ) -> None:
        """Add masks number `start`, `start` + 1, … in this order. `scores`: (n, T)."""
        doubles: DoubleArray = scores.astype(np.float64)
        replicates = replicate_of(start + np.arange(len(draw)))
        places = (replicates, *draw.shifts_yx.T)
        np.add.at(self.grids, places, draw.grids)
        for scored_grids, score in zip(self.scored_grids, doubles.T, strict=True):
            np.add.at(scored_grids, places, score[:, None, None] * draw.grids)
        values = None if components is None else components.values(draw)
        if len(self.log_floors) and start == 0:
            means = doubles.mean(axis=0)
            self.log_floors[:] = np.where(means > 0, FLOOR_SHARE * means, np.nan)
        for replicate in range(REPLICATES):
            own = np.flatnonzero(replicates == replicate)
            self.masks[replicate] += len(own)
            self.scores[:, replicate] += doubles[own].sum(axis=0)
            if components is not None and values is not None:
                self.components[replicate] += values[own].sum(axis=0)
                self.component_products[replicate] += values[own, : components.fitted].T @ values[own]
                self.scored_components[:, replicate] += doubles[own].T @ values[own]
                if len(self.log_floors):
                    self._add_logs(replicate, doubles[own], values[own, : components.fitted])
        np.minimum(self.lowest, doubles.min(axis=0), out=self.lowest)
        np.maximum(self.highest, doubles.max(axis=0), out=self.highest)

    def _add_logs(self, replicate: int, scores: DoubleArray, values: DoubleArray) -> None:
        # A model may return infinity; a sum is then not finite, and the log-linear model is not used.
        with np.errstate(invalid="ignore"):
            logs = np.log(np.maximum(scores, 0) + self.log_floors)
            self.log_scores[:, replicate] += logs.sum(axis=0)
            self.log_squares[:, replicate] += (logs**2).sum(axis=0)
            self.log_components[:, replicate] += logs.T @ values
