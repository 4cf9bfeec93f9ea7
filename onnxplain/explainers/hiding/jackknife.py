"""The error of an estimate from the estimate itself, made again without one part of the sample after the other."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import numpy.typing as npt

from onnxplain.runtime.arrays import DoubleArray

GROUPS = 8
# Values whose spread is a smaller share of them are alike: what is left is rounding.
_ROUNDING = 1e-12

# From the numbers of the sample's units that are used to the estimates, float64 (T, P).
SampleEstimate = Callable[[npt.NDArray[np.intp]], DoubleArray]


def jackknife(estimate: SampleEstimate, units: int, groups: int = GROUPS) -> tuple[DoubleArray, DoubleArray | None]:
    """The estimate from all units, float64 (T, P), and its standard error by the jackknife over groups.

    ``SE² = (G − 1)/G Σ_g (θ_(g) − θ_(·))²``, θ_(g) the estimate without group g (Quenouille 1956, Tukey 1958). Unit i
    belongs to group i mod G. None if there are fewer units than two per group.
    """
    numbers = np.arange(units)
    whole = estimate(numbers)
    if units < 2 * groups:
        return whole, None
    return whole, error_from(np.stack([estimate(numbers[numbers % groups != group]) for group in range(groups)]))


def error_from(without: DoubleArray) -> DoubleArray:
    """The standard error, float64 (T, P), from the estimates without each of the groups, (G, T, P)."""
    groups = len(without)
    spread = ((without - without.mean(axis=0)) ** 2).sum(axis=0)
    return np.asarray(np.sqrt((groups - 1) / groups * spread))


def error_share(values: DoubleArray, standard_error: DoubleArray | None) -> float | None:
    """Root mean square of the errors over the standard deviation of the values; None where the error is unknown, or the
    values are all alike or not finite.
    """
    if standard_error is None or not np.isfinite(values).all() or values.std() <= _ROUNDING * np.abs(values).max():
        return None
    return float(np.sqrt((standard_error**2).mean()) / values.std())
