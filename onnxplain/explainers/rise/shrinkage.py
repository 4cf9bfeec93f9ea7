"""Shrink an unbiased map toward a model's map, band by band (James and Stein 1961).

a is the unbiased map's coefficient on component l, with the variance v_l from its replicates, and t the model's. The
model's map is first multiplied by one factor β, because the mean of a logarithm leaves the noise out and so its map is
too flat:

    β = Σ_l a_l t_l / λ_l / Σ_l t_l² / λ_l         over the first 64 components,
    S_l = β t_l + w (a_l − β t_l),   w = max(0, 1 − (1 − 2/K_b) Σ_b v_l / Σ_b (a_l − β t_l)²)

in each band b of K_b components.

Where the two maps differ by no more than a's noise, w is near 0 and S is the model's map. Where they differ by more,
the model is wrong and S is the unbiased map. So the error of S vanishes with more masks, as a's does.
"""

from __future__ import annotations

from onnxplain.explainers.rise.principal_components import FITTED
from onnxplain.runtime.arrays import DoubleArray

# The first component of each band: bands are narrow where few components hold most of a map.
_BANDS = (0, 3, 8, 15, 24, 35, 48, 64, 100, 160)


def shrink_by_bands(
    replicates: DoubleArray, weights: DoubleArray, model: DoubleArray, variances: DoubleArray
) -> DoubleArray:
    """The shrunk coefficients S (K,). `replicates` (R, K), R ≥ 2: a of independent replicates, with `weights` (R,).

    `model` (K,): t. `variances` (K,): λ. v is ``Σ_r w_r (a_r − a)² / (R − 1)``.
    """
    unbiased = weights @ replicates
    noise = weights @ (replicates - unbiased) ** 2 / (len(replicates) - 1)
    few = slice(FITTED)
    energy = (model[few] ** 2 / variances[few]).sum()
    factor = (unbiased[few] * model[few] / variances[few]).sum() / energy if energy > 0 else 0.0
    shrunk = factor * model
    difference = unbiased - shrunk
    for start, stop in zip(_BANDS, (*_BANDS[1:], len(model)), strict=True):
        band = slice(start, stop)
        found = (difference[band] ** 2).sum()
        if found > 0:
            share = max(0.0, 1 - 2 / len(difference[band])) * noise[band].sum() / found
            shrunk[band] += max(0.0, 1 - share) * difference[band]
    return shrunk
