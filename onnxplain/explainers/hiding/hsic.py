"""HSIC (Novello et al. 2022): how far the score depends on whether a cell is shown, by a measure of dependence."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import numpy.typing as npt

from onnxplain.errors import OnnxplainError
from onnxplain.explainers.hiding.dependence import dependence
from onnxplain.explainers.hiding.jackknife import GROUPS, error_from
from onnxplain.explainers.hiding.player_explainer import PlayerExplainer, PlayerValues
from onnxplain.explainers.hiding.trials import Trials
from onnxplain.explainers.masked.cell_masks import CellDraw, CellMasks

_USUAL_COPIES, _LEAST_COPIES = 500, 8
# There is a kernel of the scores for every pair of copies: minutes for more.
_MOST_COPIES = 100_000


@dataclass(frozen=True)
class HSIC(PlayerExplainer):
    """The Hilbert-Schmidt independence criterion between each player and the score.

    ``HSIC_i = tr(K_i H L H) / (n − 1)²``, H = I − 1/n (Novello et al., Making Sense of Dependence: Efficient Black-box
    Explanations Using Dependence Measure, NeurIPS 2022; Gretton et al. 2005). K_i(m, m') is 1 where two copies agree on
    player i, else 0. L is a Gaussian kernel of the scores, ``exp(−(y − y')² / (2 σ²))``. Every player is shown in half
    of the copies, which a Latin hypercube chooses.

    σ is the median distance between two different scores. The authors' code takes the median of the scores themselves;
    that is no scale for numbers, cosines and differences, which may be negative.

    `evaluations`: None: 501; at most 100,001, because the time of the sums grows with the square. `players`: a grid of
    8 × 8. Both are those of the authors' code.

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
                f"evaluations: found {self.evaluations}, expected at most {1 + _MOST_COPIES} for hsic: the time "
                "of its sums grows with the square"
            )
        return _USUAL_COPIES if self.evaluations is None else self.evaluations - 1

    def _value(self, trials: Trials[CellDraw], masks: CellMasks, copies: int) -> PlayerValues | None:
        shown = balanced_bits(copies, masks.count, self.seed)
        scores = trials(masks.draw(shown)).astype(np.float64)
        if len(scores) < _LEAST_COPIES:
            return None
        shown = shown[: len(scores)]
        values, without = zip(*(dependence(shown, column) for column in scores.T), strict=True)
        error = error_from(np.stack(without, axis=1)) if len(scores) >= 2 * GROUPS else None
        return PlayerValues(np.stack(values), error)


def balanced_bits(count: int, players: int, seed: int) -> npt.NDArray[np.bool_]:
    """Bits (count, players): a Latin hypercube cut at a half, so each player is shown in half of the copies."""
    generator = np.random.Generator(np.random.Philox(key=seed))
    halves = np.tile(np.arange(count)[:, None] % 2 == 0, (1, players))
    return generator.permuted(halves, axis=0)
