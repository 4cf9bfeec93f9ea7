"""HSIC (Novello et al. 2022): how far the score depends on whether a cell is shown, by a measure of dependence."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import numpy.typing as npt

from onnxplain.errors import OnnxplainError
from onnxplain.explainers.hiding.jackknife import GROUPS, error_from
from onnxplain.explainers.hiding.player_explainer import PlayerExplainer, PlayerValues
from onnxplain.explainers.hiding.trials import Trials
from onnxplain.explainers.masked.cell_masks import CellDraw, CellMasks
from onnxplain.machine.small_products import small_product
from onnxplain.runtime.arrays import DoubleArray

_USUAL_COPIES, _LEAST_COPIES = 500, 8
# A kernel of the scores has a number for every pair of copies: 200 MB.
_MOST_COPIES = 5000
# Of L, multiplied at once: `small_product` then takes many columns at once.
_ROWS = 8


@dataclass(frozen=True)
class HSIC(PlayerExplainer):
    """The Hilbert-Schmidt independence criterion between each player and the score.

    ``HSIC_i = tr(K_i H L H) / (n − 1)²``, H = I − 1/n (Novello et al., Making Sense of Dependence: Efficient Black-box
    Explanations Using Dependence Measure, NeurIPS 2022; Gretton et al. 2005). K_i(m, m') is 1 where two copies agree on
    player i, else 0. L is a Gaussian kernel of the scores, ``exp(−(y − y')² / (2 σ²))``. Every player is shown in half
    of the copies, which a Latin hypercube chooses.

    σ is the median distance between two different scores. The authors' code takes the median of the scores themselves;
    that is no scale for numbers, cosines and differences, which may be negative.

    `evaluations`: None: 501; at most 5,001, because memory grows with the square. `players`: a grid of 8 × 8. Both are
    those of the authors' code.

    The criterion has no sign: it does not say whether a place speaks for or against the target. ``not:`` is refused. It
    looks at players one by one: two cells that only matter together can have none. `report.standard_error`: by the
    jackknife over copies.
    """

    name: ClassVar[str] = "hsic"
    unit: ClassVar[str] = "HSIC"
    signed: ClassVar[bool] = False

    def _copies_for(self, players: int) -> int:
        self._require(1 + _LEAST_COPIES, players)
        if self.evaluations is not None and self.evaluations > 1 + _MOST_COPIES:
            raise OnnxplainError(
                f"evaluations: found {self.evaluations}, expected at most {1 + _MOST_COPIES} for hsic: its memory "
                "grows with the square"
            )
        return _USUAL_COPIES if self.evaluations is None else self.evaluations - 1

    def _value(self, trials: Trials[CellDraw], masks: CellMasks, copies: int) -> PlayerValues | None:
        shown = balanced_bits(copies, masks.count, self.seed)
        scores = trials(masks.draw(shown)).astype(np.float64)
        if len(scores) < _LEAST_COPIES:
            return None
        shown = shown[: len(scores)]
        values, without = [], []
        for column in scores.T:
            kernel = kernel_of(column)
            values.append(dependence(shown, kernel))
            without.append(dependence_without_groups(shown, kernel))
        error = error_from(np.stack(without, axis=1)) if len(scores) >= 2 * GROUPS else None
        return PlayerValues(np.stack(values), error)


def balanced_bits(count: int, players: int, seed: int) -> npt.NDArray[np.bool_]:
    """Bits (count, players): a Latin hypercube cut at a half, so each player is shown in half of the copies."""
    generator = np.random.Generator(np.random.Philox(key=seed))
    halves = np.tile(np.arange(count)[:, None] % 2 == 0, (1, players))
    return generator.permuted(halves, axis=0)


def kernel_of(scores: DoubleArray) -> DoubleArray:
    """L, float64 (n, n), from scores (n,); all ones where all scores are equal."""
    apart = np.subtract.outer(scores, scores)
    apart *= apart
    # Every pair once: twice has the same median.
    pairs = np.concatenate([row[number + 1 :] for number, row in enumerate(apart)])
    different = pairs[pairs > 0]
    apart /= -2 * np.median(different, overwrite_input=True) if different.size else 1
    return np.asarray(np.exp(apart, out=apart))


def dependence(shown: npt.NDArray[np.bool_], kernel: DoubleArray) -> DoubleArray:
    """HSIC of each player, float64 (P,), from bits (n, P) and L (n, n).

    With ``s = ±1`` for shown and hidden, K_i = (1 + s sᵀ)/2, so tr(K_i H L H) = sᵀ H L H s / 2.
    """
    signs = np.where(shown, 1.0, -1.0)
    signs -= signs.mean(axis=0)
    total = np.zeros(signs.shape[1])
    for start in range(0, len(signs), _ROWS):
        rows = slice(start, start + _ROWS)
        total += (signs[rows] * small_product(kernel[rows], signs)).sum(axis=0)
    return total / 2 / (len(shown) - 1) ** 2


def dependence_without_groups(shown: npt.NDArray[np.bool_], kernel: DoubleArray) -> DoubleArray:
    """HSIC of each player without the copies of one group after the other, float64 (G, P); copy i is in i mod G.

    With m the means of s over the copies C that are left, HSIC is ``(A − 2 m B + m² D) / 2 / (|C| − 1)²``,
    ``A = Σ s_i L_ij s_j``, ``B = Σ L_ij s_j``, ``D = Σ L_ij``, sums over C × C. Sums over a group × a group are enough
    for all: one product with L instead of one per group.
    """
    signs = np.where(shown, 1.0, -1.0)
    squares, halves, numbers = [], [], []
    for group in range(GROUPS):
        others, own = signs[group::GROUPS], kernel[:, group::GROUPS]
        product = np.concatenate(
            [small_product(own[start : start + _ROWS], others) for start in range(0, len(signs), _ROWS)]
        )
        squares.append(sum_by_group(signs * product))
        halves.append(sum_by_group(product))
        numbers.append(sum_by_group(own.sum(axis=1, keepdims=True)))
    left = 1.0 - np.eye(GROUPS)
    a, b, d = (np.einsum("kg,kh,hgp->kp", left, left, np.stack(each)) for each in (squares, halves, numbers))
    counts = left @ sum_by_group(np.ones((len(signs), 1)))
    means = left @ sum_by_group(signs) / counts
    return np.asarray((a - 2 * means * b + means**2 * d) / 2 / (counts - 1) ** 2)


def sum_by_group(rows: DoubleArray) -> DoubleArray:
    """The sums, float64 (G, P), over the rows (n, P) of each group."""
    missing = -len(rows) % GROUPS
    padded = np.concatenate([rows, np.zeros((missing, rows.shape[1]))]) if missing else rows
    return np.asarray(padded.reshape(-1, GROUPS, rows.shape[1]).sum(axis=0))
