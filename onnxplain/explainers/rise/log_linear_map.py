"""The map that the log-linear estimator shows: the unbiased map, shrunk toward that of a log-linear model."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from onnxplain.explainers.aimed.placed_target import PlacedTarget
from onnxplain.explainers.masked.masks import ALL_PIXELS, Pixels
from onnxplain.explainers.rise.log_linear import LogSums, fit_twice
from onnxplain.explainers.rise.map_estimate import MapEstimator
from onnxplain.explainers.rise.mask_sums import MaskSums
from onnxplain.explainers.rise.principal_components import PrincipalComponents
from onnxplain.explainers.rise.sampling_report import NoModel
from onnxplain.explainers.rise.shrinkage import shrink_by_bands
from onnxplain.runtime.arrays import DoubleArray

# Masks per replicate: a pair.
_FEWEST = 2
# Of the unbiased map's error: the least that is stated.
_LEAST_SHARE = 0.5
# Heads whose scores may be negative.
_SIGNED: Sequence[NoModel] = ("values", "embedding")


@dataclass(frozen=True, eq=False)
class ShrunkMap:
    """`values` (H, W), float64. `relative_error`: as that of `MapEstimate`; None for a map that is the same everywhere.

    The map is biased, so its error is not the spread of its replicates. It is found by leaving out one replicate after
    the other. S₋ and a₋ are the shrunk and the unbiased map of the rest, and a_r the unbiased map of replicate r, which
    neither has seen (only the ratios of noise and prior are those of all masks). With |·|² the mean square over pixels
    after the mean is subtracted,

        E|S₋ − truth|² = E[|a_r − S₋|² − |a_r − a₋|²] + E|a₋ − truth|²,

    and the last term is the variance of an unbiased map. Scaled by 7/8, the share of the masks that S₋ has. This
    difference of estimates may come out as small as 0, so at least half of the unbiased map's error is stated.
    """

    values: DoubleArray
    relative_error: float | None


def why_no_model(placed: PlacedTarget) -> NoModel | None:
    """Why the score of a target has no log-linear model, if that is known before it is measured."""
    if placed.against is not None:
        return "difference"
    if placed.sign < 0:
        return "negated"
    return next((kind for kind in _SIGNED if kind == placed.head.kind), None)


def why_no_sums(sums: MaskSums, target: int) -> NoModel | None:
    """Why the scores that were measured have no log-linear model."""
    logs = (sums.log_scores[target], sums.log_squares[target], sums.log_components[target], sums.scores[target])
    checks: Mapping[NoModel, bool] = {
        "few": bool(sums.masks.min() < _FEWEST),
        "negative": bool(sums.lowest[target] < 0),
        "zero": bool(sums.lowest[target] >= 0 and not sums.log_floors[target] > 0),
        "infinite": not all(np.isfinite(each).all() for each in logs),
    }
    return next((why for why, holds in checks.items() if holds), None)


def shrink_map(estimator: MapEstimator, sums: MaskSums, target: int, visible: Pixels) -> ShrunkMap:
    """The shrunk map of a target. Every replicate needs a pair of masks, and the sums of logarithms are finite."""
    components = estimator.components
    assert components is not None
    means, replicates = estimator.coefficients(sums, target)
    weights = sums.masks / sums.masks.sum()
    shrunk, ratios = _shrink(components, sums, target, replicates, np.ones(len(weights), np.bool_))
    values = float(weights @ means) + components.maps(shrunk, ALL_PIXELS)
    spread = _mean_square(components, shrunk, visible)
    if not spread > 0:
        return ShrunkMap(values, None)
    variance = weights @ _mean_square(components, replicates - weights @ replicates, visible) / (len(weights) - 1)
    gains = []
    for left_out in range(len(weights)):
        kept = np.arange(len(weights)) != left_out
        rest, _ = _shrink(components, sums, target, replicates, kept, ratios)
        both = np.stack([rest, weights[kept] @ replicates[kept] / weights[kept].sum()])
        far, near = _mean_square(components, replicates[left_out] - both, visible)
        gains.append(far - near)
    others = (len(weights) - 1) / len(weights)
    squared = others * (weights @ gains + variance / others)
    return ShrunkMap(values, float(np.sqrt(max(squared, _LEAST_SHARE**2 * variance) / spread)))


def _shrink(
    components: PrincipalComponents,
    sums: MaskSums,
    target: int,
    replicates: DoubleArray,
    kept: npt.NDArray[np.bool_],
    ratios: tuple[float | None, float | None] = (None, None),
) -> tuple[DoubleArray, tuple[float, float]]:
    """The shrunk coefficients (K,) from the kept replicates, and the ratios of the two fits: found, unless given."""
    fitted = components.fitted
    logs = LogSums(
        masks=float(sums.masks[kept].sum()),
        components=sums.components[kept, :fitted].sum(axis=0),
        products=sums.component_products[kept, :, :fitted].sum(axis=0),
        logs=float(sums.log_scores[target, kept].sum()),
        squares=float(sums.log_squares[target, kept].sum()),
        logged=sums.log_components[target, kept].sum(axis=0),
    )
    weights = sums.masks[kept] / sums.masks[kept].sum()
    model, found = fit_twice(components, logs, ratios)
    return shrink_by_bands(replicates[kept], weights, model, components.variances), found


def _mean_square(components: PrincipalComponents, coefficients: DoubleArray, pixels: Pixels) -> DoubleArray:
    """Mean square over pixels, after the mean is subtracted, of maps with these coefficients (…, K) → (…)."""
    maps = components.maps(coefficients, pixels)
    return np.asarray(maps.var(axis=(-2, -1)))
