"""KernelSHAP (Lundberg & Lee 2017): Shapley values of the players, from a weighted regression on coalitions."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import numpy.typing as npt

from onnxplain.explainers.hiding.coalitions import Coalitions, Sampling, all_pairs, choose_coalitions
from onnxplain.explainers.hiding.jackknife import jackknife
from onnxplain.explainers.hiding.player_explainer import PlayerExplainer, PlayerValues
from onnxplain.explainers.hiding.trials import Trials
from onnxplain.explainers.hiding.weighted_fit import parts_of
from onnxplain.explainers.masked.cell_masks import CellDraw, CellMasks
from onnxplain.explainers.masked.players import Players
from onnxplain.runtime.arrays import DoubleArray

# Beside two per player, as in the authors' code.
_USUAL_COPIES = 2048


@dataclass(frozen=True)
class KernelSHAP(PlayerExplainer):
    """Shapley values: each player's mean contribution to the score, over all orders in which the players could appear.

    φ minimises ``Σ_S w(S) (v(S) − v(∅) − Σ_{i∈S} φ_i)²`` with ``Σ_i φ_i = v(all) − v(∅)``, where v(S) is the score
    with the players S shown and w Shapley's kernel (Lundberg & Lee, A Unified Approach to Interpreting Model
    Predictions, NeurIPS 2017, theorem 2). The constraint, efficiency, holds exactly for every number of copies. With
    all 2^P coalitions φ are the Shapley values themselves; else they are sampled, in pairs S and complement (Covert &
    Lee 2021), see `choose_coalitions`.

    `sampling`: "kernel": sizes by their weight. "leverage": all sizes alike (Musco & Witter, ICLR 2025).
    `evaluations`: None: 2 P + 2,050, as in the authors' code, or all coalitions if they are fewer. `players`: 50
    superpixels.

    `report.values`: φ. `report.standard_error`: by the jackknife over drawn pairs; 0 where all coalitions are used.
    `report.measured`: "empty": v(∅).
    """

    players: Players = "superpixels"
    cells: int = 50
    sampling: Sampling = "kernel"

    name: ClassVar[str] = "shap"
    unit: ClassVar[str] = "Shapley value of the score"
    # The fit takes a time that grows with the cube: a minute or more on one core.
    most_players: ClassVar[int] = 2_025

    def _copies_for(self, players: int) -> int:
        # The empty coalition, and each player alone and missing; of two players that is each twice.
        self._require(1 + (1 + 2 * players if players > 2 else 3), players)
        every = 1 + 2 * all_pairs(players)
        wanted = _USUAL_COPIES + 2 * players + 1 if self.evaluations is None else self.evaluations - 1
        return min(every, 1 + 2 * ((wanted - 1) // 2))

    def _value(self, trials: Trials[CellDraw], masks: CellMasks, copies: int) -> PlayerValues | None:
        coalitions = choose_coalitions(masks.count, copies // 2, self.sampling, self.seed)
        nobody = np.zeros((1, masks.count), bool)
        scores = trials(masks.draw(np.concatenate([nobody, coalitions.shown]))).astype(np.float64)
        pairs = (len(scores) - 1) // 2
        if pairs < min(coalitions.listed, masks.count) or pairs < 1:
            return None
        empty, whole = scores[0], trials.unmasked.astype(np.float64)
        gains = scores[1 : 1 + 2 * pairs].reshape(pairs, 2, -1) - empty

        def estimate(drawn: npt.NDArray[np.intp]) -> DoubleArray:
            return fit_shapley(coalitions, gains, drawn + min(coalitions.listed, pairs), whole - empty)

        values, error = jackknife(estimate, max(0, pairs - coalitions.listed))
        if pairs == all_pairs(masks.count):
            error = np.zeros_like(values)
        return PlayerValues(values, error, [{"empty": float(each)} for each in empty])


def fit_shapley(
    coalitions: Coalitions, gains: DoubleArray, drawn: npt.NDArray[np.intp], total: DoubleArray
) -> DoubleArray:
    """φ, float64 (T, P), from ``v(S) − v(∅)`` of pairs, `gains` (n, 2, T), and `total` = ``v(all) − v(∅)`` (T,).

    Used are the listed pairs and those of `drawn`, whose weights are brought to the sum of all drawn ones. With
    ``A = Σ w z zᵀ`` and ``b = Σ w z v``, ``φ = A⁻¹ (b − 1 (1ᵀA⁻¹b − total) / (1ᵀA⁻¹1))``.
    """
    pairs, players = len(gains), coalitions.first.shape[1]
    listed = min(coalitions.listed, pairs)
    chosen = np.concatenate([np.arange(listed), drawn]).astype(np.intp)
    weights = coalitions.weights[chosen].copy()
    if len(drawn):
        weights[listed:] *= coalitions.weights[listed:].sum() / weights[listed:].sum()
    moments, answers = np.zeros((players, players)), np.zeros((players, gains.shape[2]))
    for part in parts_of(len(chosen)):
        first = coalitions.first[chosen[part]]
        shown = np.stack([first, ~first], axis=1).reshape(-1, players).astype(np.float64)
        weighted = shown * np.repeat(weights[part], 2)[:, None]
        moments += weighted.T @ shown
        answers += weighted.T @ gains[chosen[part]].reshape(len(shown), -1)
    right = np.concatenate([answers, np.ones((players, 1))], axis=1)
    # Few pairs leave directions open; the shortest solution is then taken.
    solved = np.linalg.lstsq(moments, right, rcond=None)[0]
    free, ones = solved[:, :-1], solved[:, -1:]
    values: DoubleArray = (free - ones * (free.sum(axis=0) - total) / ones.sum()).T
    return values
