"""LIME (Ribeiro et al. 2016): a linear model of the score near the image, one coefficient per player."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal

import numpy as np
import numpy.typing as npt

from onnxplain.errors import OnnxplainError
from onnxplain.explainers.hiding.jackknife import jackknife
from onnxplain.explainers.hiding.player_explainer import PlayerExplainer, PlayerValues
from onnxplain.explainers.hiding.trials import Trials
from onnxplain.explainers.hiding.weighted_fit import Moments, choose_columns, fit_ridge, parts_of
from onnxplain.explainers.masked.cell_masks import CellDraw, CellMasks
from onnxplain.explainers.masked.players import Players
from onnxplain.runtime.arrays import DoubleArray

_USUAL_COPIES = 999
_USUAL_FEATURES = 10


@dataclass(frozen=True)
class LIME(PlayerExplainer):
    """Coefficients of a linear model of the score, fitted to copies with about half of the players hidden.

    ``β = argmin Σ_z π(z) (f(z) − z·β − b)² + Ω(β)`` with ``π(z) = exp(−D(z)² / (2 width²))`` (Ribeiro et al., "Why
    Should I Trust You?", KDD 2016, equations 1 and 2). D is the cosine distance of z to the whole image, as in the
    authors' code: ``1 − √(share of the players shown)``. The whole image is one of the samples; in the others each
    player is shown with probability ½.

    `fit`: "ridge": ``Ω = |β|²``, as in the authors' code. "lasso": the paper's K-LASSO: the first `features` players
    that the lasso takes, then least squares of these; the others are 0. `features`: None: 10.
    `width`: 0.25. `evaluations`: None: 1,000, the samples of the authors' code, which has quickshift's superpixels, or
    two copies per player if those are more. `players`: 50 superpixels.

    `report.standard_error`: by the jackknife over samples. `report.measured`: "r2": the share of the score's weighted
    variance that the linear model explains, the paper's fidelity: with a low one the map says little.
    """

    players: Players = "superpixels"
    cells: int = 50
    fit: Literal["ridge", "lasso"] = "ridge"
    features: int | None = None
    width: float = 0.25

    name: ClassVar[str] = "lime"
    unit: ClassVar[str] = "coefficient of the score"
    # The fit takes a time that grows with the cube: a minute or more on one core.
    most_players: ClassVar[int] = 2_025

    def _check_options(self) -> None:
        if not self.width > 0:
            raise OnnxplainError(f"width: found {self.width}, expected a positive number")
        if self.features is not None and self.features < 1:
            raise OnnxplainError(f"features: found {self.features}, expected at least 1")
        if self.features is not None and self.fit == "ridge":
            raise OnnxplainError('features: found for fit "ridge", expected fit "lasso", which chooses players')
        super()._check_options()

    def _copies_for(self, players: int) -> int:
        # As many samples as numbers to fit, the intercept included.
        self._require(players + 1, players)
        return max(_USUAL_COPIES, 2 * players) if self.evaluations is None else self.evaluations - 1

    def _value(self, trials: Trials[CellDraw], masks: CellMasks, copies: int) -> PlayerValues | None:
        shown = random_bits(copies, masks.count, self.seed)
        scores = trials(masks.draw(shown))
        if len(scores) < masks.count:
            return None
        # The image itself is a sample in every fit.
        near = np.concatenate([np.ones((1, masks.count), bool), shown[: len(scores)]])
        values = np.concatenate([trials.unmasked[None], scores]).astype(np.float64)
        weights = np.exp(-((1 - np.sqrt(near.mean(axis=1))) ** 2) / (2 * self.width**2))

        def moments(chosen: npt.NDArray[np.intp]) -> list[Moments]:
            rows = np.concatenate([[0], chosen + 1])
            return [Moments.of(near[rows], column, weights[rows]) for column in values[rows].T]

        fitted, error = jackknife(lambda chosen: np.stack([self._fit(each) for each in moments(chosen)]), len(scores))
        whole = moments(np.arange(len(scores)))
        measured = [{"r2": each.explained(row)} for each, row in zip(whole, fitted, strict=True)]
        return PlayerValues(fitted, error, measured)

    def _fit(self, moments: Moments) -> DoubleArray:
        if self.fit == "ridge":
            return fit_ridge(moments, 1.0)
        columns = choose_columns(moments, self.features or _USUAL_FEATURES)
        found = np.zeros(len(moments.cross))
        if len(columns):
            found[columns] = fit_ridge(moments.of_columns(columns), 0.0)
        return found


def random_bits(count: int, players: int, seed: int) -> npt.NDArray[np.bool_]:
    """Independent fair bits, (count, players). Row i depends on the seed and i alone."""
    generator = np.random.Generator(np.random.Philox(key=seed))
    bits = np.empty((count, players), bool)
    for part in parts_of(count):
        np.less(generator.random((part.stop - part.start, players)), 0.5, out=bits[part])
    return bits
