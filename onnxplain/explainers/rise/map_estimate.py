"""Compute RISE's map from sums: S(x) = E[s · M(x)] / p, the expected score if a random mask shows pixel x.

φ_k, λ_k and z_k are the masks' principal components, their variances and their values. ŝ = c₀ + Σ c_k z_k is a linear
prediction of the score, from the first 64 components, that does not depend on the masks of replicate r. This
replicate's estimate is

    S_r(x) = c₀ + 1/p · [ mean (s − c₀) M(x) − Σ_kl c_k (mean z_k z_l − λ_k [k = l]) φ_l(x) ] − Σ_k c_k · mean z_k,

where each mean is over the replicate's own masks, k runs over the 64 components and l over 256, which stand for the
whole mask. Every term after the first mean has expectation 0 for any c, so S_r is unbiased. With a good c, it is the
map of the residuals s − ŝ, which has less variance, plus the known map of ŝ. c is fitted on the other replicates. The
paper's estimator has c = 0; centring sets c₀ to the mean score.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from onnxplain.explainers.masked.masks import ALL_PIXELS, MaskGeometry, Pixels
from onnxplain.explainers.rise.mask_sums import MaskSums
from onnxplain.explainers.rise.principal_components import PrincipalComponents
from onnxplain.runtime.arrays import DoubleArray


@dataclass(frozen=True, eq=False)
class MapEstimate:
    """One target's map from R independent replicates: `replicates` (R, H, W), float64, and their `weights`, sum 1.

    `replicates` holds the replicates with at least one mask. The error is known (`error_known`) once all 8 replicates
    have a pair of masks.
    """

    replicates: DoubleArray
    weights: DoubleArray
    error_known: bool

    @property
    def values(self) -> DoubleArray:
        """The map (H, W): the weighted mean of the replicates."""
        return _mean(self.replicates, self.weights)

    @property
    def standard_error(self) -> DoubleArray | None:
        """Standard error of `values` (H, W), from the replicates: Student's t with R − 1 = 7 degrees of freedom."""
        return np.sqrt(_variance_of_mean(self.replicates, self.weights)) if self.error_known else None

    def relative_error(self, pixels: Pixels = ALL_PIXELS) -> float | None:
        """Root mean square standard error divided by the map's standard deviation, both over `pixels`.

        The map's mean over these pixels is subtracted first: no heatmap shows it, and its error is larger. With a
        relative error e, the map's correlation with the true map is about 1 / √(1 + e²). None if the error is unknown,
        or if the map is the same everywhere or not finite.
        """
        if not self.error_known:
            return None
        # A model may return infinity, and differences of infinities are NaN.
        with np.errstate(invalid="ignore"):
            shown = self.replicates[:, pixels[0], pixels[1]]
            forms = shown - shown.mean(axis=(1, 2), keepdims=True)
            spread = float(_mean(forms, self.weights).std())
            error = float(np.sqrt(_variance_of_mean(forms, self.weights).mean()))
        return error / spread if spread > 0 and np.isfinite(error / spread) else None


@dataclass(frozen=True, eq=False)
class _MapParts:
    """What L maps are drawn from; a map is linear in it: a constant (L,), Σ weighted grids, weights of components."""

    constants: DoubleArray
    grids: DoubleArray
    components: DoubleArray | None

    def weighted(self, weights: DoubleArray) -> _MapParts:
        """The parts of one map: the weighted sum of the maps."""
        constants, grids, components = (
            None if part is None else np.tensordot(weights, part, 1)[None]
            for part in (self.constants, self.grids, self.components)
        )
        assert constants is not None
        assert grids is not None
        return _MapParts(constants, grids, components)


@dataclass(frozen=True)
class MapEstimator:
    """Computes maps from sums: the geometry of the masks, and the parts of the score that are predicted."""

    geometry: MaskGeometry
    centred: bool
    components: PrincipalComponents | None

    def estimate(self, sums: MaskSums, target: int, pixels: Pixels = ALL_PIXELS) -> MapEstimate:
        """The map of the target at position `target` in the sums. `pixels`: the rows and columns to compute.

        The map is the mean of the replicates' maps, weighted by their numbers of masks. At least one mask is needed.
        """
        return self.mean_and_estimates(sums, target, (pixels,), mean=False)[1][0]

    def mean_and_estimates(
        self, sums: MaskSums, target: int, lattices: Sequence[Pixels], *, mean: bool = True
    ) -> tuple[DoubleArray | None, list[MapEstimate]]:
        """The map at every pixel, (H, W), and the estimates at the pixels of several lattices.

        A map is linear in its parts, so the mean of the replicates is drawn once. `mean` False: None instead of it.
        """
        sampled = np.flatnonzero(sums.masks)
        weights = sums.masks[sampled] / sums.masks.sum()
        known = bool(sums.masks.min() >= 2)
        # A model may return infinity, and differences of infinities are NaN. The map's status reports it.
        with np.errstate(invalid="ignore"):
            parts = self._replicate_parts(sums, target, sampled)
            whole = self._draw(parts.weighted(weights), ALL_PIXELS)[0] if mean else None
            return whole, [MapEstimate(self._draw(parts, pixels), weights, known) for pixels in lattices]

    def coefficients(self, sums: MaskSums, target: int) -> tuple[DoubleArray, DoubleArray]:
        """Every replicate's map, (R,) and (R, K): its expected score and its coefficients on the components.

        This leaves out what the map has outside the components, 0.1 % of the variance. Raises AssertionError if the
        estimator has no components, or a replicate no mask.
        """
        assert self.components is not None
        sampled = np.flatnonzero(sums.masks)
        counts = sums.masks[sampled, None]
        base, slopes = self._fits(sums, target, sampled)
        means, values = sums.scored_components[target, sampled] / counts, sums.components[sampled] / counts
        excess = sums.component_products[sampled] / counts[..., None]
        excess = excess - np.eye(*excess.shape[-2:]) * self.components.variances
        offsets = (slopes * values[:, : self.components.fitted]).sum(axis=1)
        coefficients = (means - base[:, None] * values - (slopes[:, None] @ excess)[:, 0]) / self.geometry.keep
        return sums.scores[target, sampled] / counts[:, 0] - offsets, coefficients

    def _replicate_parts(self, sums: MaskSums, target: int, sampled: npt.NDArray[np.int64]) -> _MapParts:
        """The parts of each sampled replicate's map, with the prediction fitted on the other replicates."""
        base, slopes = self._fits(sums, target, sampled)
        return self._parts(
            base,
            slopes,
            sums.masks[sampled],
            sums.scored_grids[target, sampled],
            sums.grids[sampled],
            sums.components[sampled],
            sums.component_products[sampled],
        )

    def _fits(self, sums: MaskSums, target: int, sampled: npt.NDArray[np.int64]) -> tuple[DoubleArray, DoubleArray]:
        """c₀ (R,) and c (R, F) of each sampled replicate, fitted on the other replicates."""
        fits = [
            self.fit(
                sums.masks.sum() - sums.masks[replicate],
                sums.scores[target].sum() - sums.scores[target, replicate],
                sums.components.sum(axis=0) - sums.components[replicate],
                sums.component_products.sum(axis=0) - sums.component_products[replicate],
                sums.scored_components[target].sum(axis=0) - sums.scored_components[target, replicate],
            )
            for replicate in sampled
        ]
        return np.array([base for base, _ in fits]), np.array([slopes for _, slopes in fits])

    def fit(
        self,
        masks: float,
        scores: DoubleArray,
        components: DoubleArray,
        products: DoubleArray,
        scored_components: DoubleArray,
    ) -> tuple[DoubleArray, DoubleArray]:
        """c₀ (…,) and c (…, F) from sums as in `MaskSums`: `scores` (…,), `scored_components` (…, K).

        Ridge regression: ``(G + F/n · Λ) c = cov(z, s)`` with n masks, G the sample covariance of the first F values z
        and Λ their true covariance. With few masks the coefficients are shrunk; with many masks this is least squares.
        """
        fitted = 0 if self.components is None else self.components.fitted
        none = np.zeros((*scores.shape, fitted))
        if not self.centred or masks == 0:
            return np.zeros_like(scores), none
        mean = scores / masks
        if self.components is None:
            return mean, none
        mean_components = components[:fitted] / masks
        covariance = products[:, :fitted] / masks - np.outer(mean_components, mean_components)
        ridge = np.diag(self.components.variances[:fitted]) * fitted / masks
        deviations = scored_components[..., :fitted] / masks - np.multiply.outer(mean, mean_components)
        slopes = np.linalg.solve(covariance + ridge, deviations.T).T.astype(np.float64)
        return mean - slopes @ mean_components, slopes

    def maps(
        self,
        base: DoubleArray,
        slopes: DoubleArray,
        masks: DoubleArray | float,
        scored_grids: DoubleArray,
        grids: DoubleArray,
        components: DoubleArray,
        products: DoubleArray,
        pixels: Pixels = ALL_PIXELS,
    ) -> DoubleArray:
        """L maps (L, h, w) from c₀ (L,), c (L, F) and sums as in `MaskSums`: one per map, or one for all maps."""
        return self._draw(self._parts(base, slopes, masks, scored_grids, grids, components, products), pixels)

    def _parts(
        self,
        base: DoubleArray,
        slopes: DoubleArray,
        masks: DoubleArray | float,
        scored_grids: DoubleArray,
        grids: DoubleArray,
        components: DoubleArray,
        products: DoubleArray,
    ) -> _MapParts:
        keep, counts = self.geometry.keep, np.reshape(masks, (-1, 1, 1))
        shown = scored_grids - base[:, None, None, None, None] * grids
        shown /= keep * counts[..., None, None]
        if self.components is None:
            return _MapParts(base, shown, None)
        excess = products / counts - np.eye(*products.shape[-2:]) * self.components.variances
        offsets = (slopes * components[..., : self.components.fitted]).sum(axis=1) / counts[:, 0, 0]
        return _MapParts(base - offsets, shown, (slopes[:, None] @ excess)[:, 0] / keep)

    def _draw(self, parts: _MapParts, pixels: Pixels) -> DoubleArray:
        """The maps, (L, h, w)."""
        maps: DoubleArray = parts.constants[:, None, None] + self.geometry.weighted_sum(parts.grids, pixels)
        if self.components is not None and parts.components is not None:
            maps -= self.components.maps(parts.components, pixels)
        return maps


def _mean(maps: DoubleArray, weights: DoubleArray) -> DoubleArray:
    mean: DoubleArray = (weights[:, None, None] * maps).sum(axis=0)
    return mean


def _variance_of_mean(maps: DoubleArray, weights: DoubleArray) -> DoubleArray:
    """Σ w (map − mean)² / (R − 1): unbiased if a map's variance is inversely proportional to its weight."""
    variance: DoubleArray = (weights[:, None, None] * (maps - _mean(maps, weights)) ** 2).sum(axis=0) / (len(maps) - 1)
    return variance
