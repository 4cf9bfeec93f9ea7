"""A log-linear model of the score, and its RISE map in closed form.

The model is log(s + δ) ≈ m + Σ b_k z_k, with z_k the values of the masks' first principal components. Hidden parts of
an object tend to multiply a score, not to subtract from it, so a few hundred masks tell more about b than about a
linear model. It is fitted by ridge regression: b has the prior N(0, τ C), and the ratio ρ = σ² / τ of noise and prior
is the one with the largest evidence.

At a given shift the cells g are independent bits with probability p, and Σ b_k z_k = Σ_c θ_c (g_c − p), with θ the
grid that b gives at this shift. So for ŝ = exp(m + Σ b_k z_k), in closed form,

    E[ŝ | shift] = μ = exp(m − p Σ θ_c) · Π_c (1 − p + p e^θ_c),
    E[ŝ (g_c − p) | shift] = μ · (p e^θ_c / (1 − p + p e^θ_c) − p),

and the map's coefficient on component φ_l is 1/p · the mean over shifts of E[ŝ z_l | shift]. No mask is drawn for it.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from onnxplain.explainers.rise.principal_components import PrincipalComponents
from onnxplain.machine.small_products import small_product
from onnxplain.runtime.arrays import DoubleArray

# Shifts of an axis are averaged in at most so many groups: within a group the weights are nearly linear in the shift.
_SHIFT_GROUPS = 8
# The prior's shape is computed on so many points per cell and axis: it is smooth.
_POINTS_PER_CELL = 4
# The squared map of the first fit, blurred by so many cells, is this share of the second prior's shape.
_BLUR, _SHAPED = 0.75, 0.9
# ρ is searched among these multiples of the mean eigenvalue of C G.
_RATIOS = np.exp(np.linspace(-9, 6, 21))
# Of the prior's mean variance: keeps its inverse defined where few points have been taken.
_JITTER = 1e-9
_TINY = np.finfo(float).tiny


@dataclass(frozen=True, eq=False)
class LogSums:
    """Sums of one target, float64, as in `MaskSums`, over some replicates.

    `masks`: n. `components` (F,): Σ z. `products` (F, F): Σ z zᵀ. `logs`: Σ y. `squares`: Σ y². `logged` (F,): Σ y z.
    """

    masks: float
    components: DoubleArray
    products: DoubleArray
    logs: float
    squares: float
    logged: DoubleArray


@dataclass(frozen=True, eq=False)
class LogLinearFit:
    """`intercept`: m. `slopes` (F,): b. `ratio`: ρ."""

    intercept: float
    slopes: DoubleArray
    ratio: float


def fit_log_linear(sums: LogSums, prior: DoubleArray | None = None, ratio: float | None = None) -> LogLinearFit:
    """m and b of the log-linear model. `prior`: C (F, F); None: the identity. `ratio`: ρ; None: by its evidence.

    With y and z minus their means and G = Σ z zᵀ, ``b = (G + ρ C⁻¹)⁻¹ Σ y z``. Minus twice the logarithm of the
    evidence of ρ is ``(n − 1) log(Σ y² − b · Σ y z) + log det(G + ρ C⁻¹) + log det C − F log ρ``.
    """
    mean, means = sums.logs / sums.masks, sums.components / sums.masks
    gram = sums.products - sums.masks * np.outer(means, means)
    moments = sums.logged - sums.masks * mean * means
    prior = np.eye(len(means)) if prior is None else prior
    scale = max(float((prior * gram).sum()) / len(means), _TINY)
    ratios = scale * _RATIOS if ratio is None else np.array([ratio])
    # An eigendecomposition would do for all ratios, but LAPACK's wakes threads: see `small_products`.
    sharpened = gram + ratios[:, None, None] * np.linalg.inv(prior)
    slopes = np.linalg.solve(sharpened, np.broadcast_to(moments[:, None], (len(ratios), len(means), 1)))[..., 0]
    best = 0
    if len(ratios) > 1:
        square = sums.squares - sums.masks * mean**2
        rest = np.log(np.maximum(square - slopes @ moments, _TINY))
        diagonals = np.diagonal(np.linalg.cholesky(sharpened), axis1=1, axis2=2)
        lost = (sums.masks - 1) * rest + 2 * np.log(diagonals).sum(axis=1) - len(means) * np.log(ratios)
        best = int(np.argmin(lost))
    return LogLinearFit(float(mean - slopes[best] @ means), slopes[best], float(ratios[best]))


def map_log_linear(components: PrincipalComponents, fit: LogLinearFit) -> DoubleArray:
    """The coefficients (K,) of the map of ŝ = exp(m + Σ b_k z_k) on all components: the map minus E[ŝ]."""
    keep, fitted = components.keep, len(fit.slopes)
    row_weights, column_weights, shares = _grouped_weights(components)
    table = np.zeros((components.rows.shape[1], components.columns.shape[1]))
    table[components.rows_index[:fitted], components.columns_index[:fitted]] = fit.slopes
    thetas = (row_weights.swapaxes(1, 2) @ table)[:, None] @ column_weights
    # Divided by e^θ where that is large, so it cannot overflow.
    logs = np.logaddexp(np.log1p(-keep), np.log(keep) + thetas)
    means = np.exp(fit.intercept - keep * thetas.sum(axis=(2, 3)) + logs.sum(axis=(2, 3)))
    deviations = (shares * means)[..., None, None] * (np.exp(np.log(keep) + thetas - logs) - keep)
    products = (row_weights[:, None] @ deviations @ column_weights.swapaxes(1, 2)).sum(axis=(0, 1))
    coefficients: DoubleArray = products[components.rows_index, components.columns_index] / keep
    return coefficients


def shape_prior(components: PrincipalComponents, coefficients: DoubleArray) -> DoubleArray:
    """C (F, F) for the next fit, from the coefficients of a first map: larger where that map differs from its mean.

    ``C = Φ diag(e) Φᵀ``, ``e(x) = 0.9 · blur(u²)(x) / mean + 0.1`` and ``u = Σ_k t_k / √λ_k · φ_k``, over the first F
    components and a lattice of pixels. With e = 1 everywhere this is the identity.
    """
    few = slice(components.fitted)
    rows_index, columns_index = components.rows_index[few], components.columns_index[few]
    rows, columns = _prior_axes(components)
    table = np.zeros((rows.vectors.shape[1], columns.vectors.shape[1]))
    table[rows_index, columns_index] = coefficients[few] / np.sqrt(components.variances[few])
    squares = (rows.vectors @ table @ columns.vectors.T) ** 2
    blurred = rows.blur @ squares @ columns.blur.T
    mean = blurred.mean()
    shape = _SHAPED * blurred / mean + 1 - _SHAPED if mean > 0 else np.ones_like(blurred)
    # Φ is separable: sums over y and x for each pair of row vectors and each pair of column vectors.
    sums = small_product(small_product(rows.pairs.T, shape), columns.pairs).reshape(
        table.shape[:1] * 2 + table.shape[1:] * 2
    )
    prior: DoubleArray = sums[rows_index[:, None], rows_index, columns_index[:, None], columns_index]
    return prior + _JITTER * np.eye(len(prior))


def fit_twice(
    components: PrincipalComponents, sums: LogSums, ratios: tuple[float | None, float | None] = (None, None)
) -> tuple[DoubleArray, tuple[float, float]]:
    """The map's coefficients (K,) from two fits, and their ρ. The first fit's map gives the second fit's prior."""
    first = fit_log_linear(sums, None, ratios[0])
    prior = shape_prior(components, map_log_linear(components, first))
    second = fit_log_linear(sums, prior, ratios[1])
    return map_log_linear(components, second), (first.ratio, second.ratio)


@lru_cache(maxsize=8)
def _grouped_weights(components: PrincipalComponents) -> tuple[DoubleArray, DoubleArray, DoubleArray]:
    """The mean row and column weights of each group of shifts, and the share (Y, X) of all shifts in two groups."""
    grouped = []
    for weights in (components.row_weights, components.column_weights):
        groups = np.array_split(weights, min(len(weights), _SHIFT_GROUPS))
        grouped.append(
            (
                np.stack([group.mean(axis=0) for group in groups]),
                np.array([len(group) for group in groups]) / len(weights),
            )
        )
    (rows, row_shares), (columns, column_shares) = grouped
    return rows, columns, np.outer(row_shares, column_shares)


@dataclass(frozen=True, eq=False)
class _PriorAxis:
    """One axis of a lattice of P pixels: `vectors` (P, A), with sums as over all pixels, their products, and a blur.

    `pairs` (P, A · A): the product of each vector with each. `blur` (P, P).
    """

    vectors: DoubleArray
    pairs: DoubleArray
    blur: DoubleArray


@lru_cache(maxsize=8)
def _prior_axes(components: PrincipalComponents) -> tuple[_PriorAxis, _PriorAxis]:
    """Rows and columns of the first F components."""
    few = slice(components.fitted)
    return (
        _prior_axis(components.rows[:, : components.rows_index[few].max() + 1], len(components.row_weights)),
        _prior_axis(components.columns[:, : components.columns_index[few].max() + 1], len(components.column_weights)),
    )


def _prior_axis(vectors: DoubleArray, cell: int) -> _PriorAxis:
    step = max(1, cell // _POINTS_PER_CELL)
    points = vectors[step // 2 :: step] * np.sqrt(step)
    pairs = (points[:, :, None] * points[:, None]).reshape(len(points), -1)
    return _PriorAxis(points, pairs, _blur_matrix(len(points), _BLUR * cell / step))


def _blur_matrix(length: int, sigma: float) -> DoubleArray:
    """A Gaussian blur along one axis, (length, length), each row's weights with the sum 1."""
    places = np.arange(length)
    weights = np.exp(-0.5 * ((places[:, None] - places) / sigma) ** 2)
    blur: DoubleArray = weights / weights.sum(axis=1, keepdims=True)
    return blur
