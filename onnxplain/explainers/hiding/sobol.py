"""Sobol (Fel et al. 2021): the share of the score's variance that is gone when a cell alone is kept fixed."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import numpy.typing as npt

from onnxplain.errors import OnnxplainError
from onnxplain.explainers.hiding.jackknife import jackknife
from onnxplain.explainers.hiding.player_explainer import PlayerExplainer, PlayerValues
from onnxplain.explainers.hiding.trials import Trials
from onnxplain.explainers.masked.cell_masks import CellDraw, CellMasks
from onnxplain.runtime.arrays import DoubleArray

_LEAST_DESIGNS = 2


@dataclass(frozen=True)
class Sobol(PlayerExplainer):
    """Total Sobol indices: how much of the score's variance a player has a part in, alone or with others.

    ``S_Ti = 1/(2N) Σ_j (f(A_j) − f(C_ij))² / V``, ``V = 1/(N − 1) Σ_j (f(A_j) − f̄(A))²`` (Fel et al., Look at the
    Variance!, NeurIPS 2021, equations 6 and 7; Jansen 1999). A_j and B_j are N designs, values of 0 to 1 for each
    player, which is shown to that part; C_ij is A_j with the value of player i from B_j. The two are the halves of a
    Sobol' sequence in twice as many dimensions as there are players, shifted at random (modulo 1) by the seed.

    `designs`: N; None: 32, as in the paper, or as many as `evaluations` allow. N (players + 1) copies: f(B) is in no
    formula, so it is not computed. `players`: a grid of 11 × 11 as in the paper.

    The index has no sign: it does not say whether a place speaks for or against the target. ``not:`` is refused.
    `report.standard_error`: by the jackknife over designs, which ignores that they are spread evenly, so it is too
    large, up to 1.8 times the spread over seeds. None below 16.
    """

    cells: int = 121
    designs: int | None = None

    name: ClassVar[str] = "sobol"
    unit: ClassVar[str] = "total Sobol index"
    signed: ClassVar[bool] = False
    smooth: ClassVar[bool] = True
    # The copies of one design take a number per pair of players; scipy's sequence has 21,201 dimensions, two each.
    most_players: ClassVar[int] = 4_000

    def _check_options(self) -> None:
        if self.designs is not None and self.designs < _LEAST_DESIGNS:
            raise OnnxplainError(f"designs: found {self.designs}, expected at least {_LEAST_DESIGNS}")
        super()._check_options()

    def _copies_for(self, players: int) -> int:
        self._require(1 + _LEAST_DESIGNS * (players + 1), players)
        designs = 32 if self.designs is None else self.designs
        if self.evaluations is not None:
            allowed = (self.evaluations - 1) // (players + 1)
            designs = allowed if self.designs is None else min(allowed, designs)
        return designs * (players + 1)

    def _value(self, trials: Trials[CellDraw], masks: CellMasks, copies: int) -> PlayerValues | None:
        each = masks.count + 1
        points = shifted_points(copies // each, 2 * masks.count, self.seed)
        whole, scores = 0, np.empty((0, len(trials.unmasked)), np.float32)
        # A design after the other, so that what is there after Ctrl-C is whole designs.
        while whole < len(points) and not trials.interrupted:
            drawn = points[whole : whole + _designs_at_once(each)]
            scores = np.concatenate([scores, trials(masks.draw(replicate(drawn)))])
            whole += len(drawn)
        designs = len(scores) // each
        if designs < _LEAST_DESIGNS:
            return None
        found = scores[: designs * each].reshape(designs, each, -1).astype(np.float64)
        values, error = jackknife(lambda chosen: total_indices(found[chosen]), designs)
        return PlayerValues(values, error)


def _designs_at_once(copies_each: int) -> int:
    """Designs whose draws are made together: about a thousand copies."""
    return max(1, 1000 // copies_each)


def shifted_points(count: int, dimensions: int, seed: int) -> npt.NDArray[np.float64]:
    """The first points of the Sobol' sequence, shifted by one random vector modulo 1: (count, dimensions)."""
    from scipy.stats import qmc

    sequence = qmc.Sobol(dimensions, scramble=False).random_base2(max(count - 1, 0).bit_length())[:count]
    shift = np.random.Generator(np.random.Philox(key=seed)).random(dimensions)
    points: npt.NDArray[np.float64] = (sequence + shift) % 1
    return points


def replicate(points: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """For each point (A_j, B_j) the rows A_j, C_1j … C_Pj: (n · (P + 1), P)."""
    players = points.shape[1] // 2
    own, other = points[:, None, :players], points[:, None, players:]
    replaced = np.concatenate([np.zeros((1, players), bool), np.eye(players, dtype=bool)])
    return np.where(replaced, other, own).reshape(-1, players)


def total_indices(scores: DoubleArray) -> DoubleArray:
    """S_T, float64 (T, P), from the scores of N designs, (N, 1 + P, T).

    0 where the score never varies. Where only f(A) never does, there is no index: V counts as 1.
    """
    own, replaced = scores[:, :1], scores[:, 1:]
    variance = own[:, 0].var(axis=0, ddof=1)
    half = ((own - replaced) ** 2).mean(axis=0).T / 2
    indices: DoubleArray = half / np.where(variance == 0, 1, variance)[:, None]
    return indices
