"""Linear fits of weighted samples: ridge, and the lasso's choice of a few columns."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from onnxplain.runtime.arrays import DoubleArray

# From one penalty of the path to the next; sweeps per penalty, and the change at which they end.
_STEP, _SWEEPS, _ENOUGH = 0.93, 200, 1e-7
_SMALLEST = 1e-6
_ROWS = 4096


def parts_of(count: int) -> list[slice]:
    """Samples that are converted to float64 together, so that memory does not grow with their number."""
    return [slice(start, min(start + _ROWS, count)) for start in range(0, count, _ROWS)]


@dataclass(frozen=True, eq=False)
class Moments:
    """What a linear fit needs of weighted samples, after means: G = XᵀWX (P, P), c = XᵀWy (P,), s = yᵀWy."""

    gram: DoubleArray
    cross: DoubleArray
    total: float

    @classmethod
    def of(cls, samples: npt.NDArray[Any], numbers: DoubleArray, weights: DoubleArray) -> Moments:
        """From samples (n, P), numbers or bits, values (n,) and weights (n,)."""
        parts = parts_of(len(samples))
        mean = sum(weights[part] @ samples[part].astype(np.float64) for part in parts) / weights.sum()
        y = np.asarray(numbers - weights @ numbers / weights.sum(), np.float64)
        gram, cross = np.zeros((samples.shape[1],) * 2), np.zeros(samples.shape[1])
        for part in parts:
            x = samples[part].astype(np.float64) - mean
            weighted = x * weights[part, None]
            gram += weighted.T @ x
            cross += weighted.T @ y[part]
        return cls(gram, cross, float(y @ (weights * y)))

    def of_columns(self, columns: npt.NDArray[np.intp]) -> Moments:
        """Those of some columns."""
        return Moments(self.gram[np.ix_(columns, columns)], self.cross[columns], self.total)

    def explained(self, coefficients: DoubleArray) -> float:
        """R²: the share of the weighted variance that the fit explains; 0 where there is none."""
        if self.total <= 0:
            return 0.0
        left = self.total - 2 * coefficients @ self.cross + coefficients @ self.gram @ coefficients
        return float(1 - left / self.total)


def fit_ridge(moments: Moments, penalty: float) -> DoubleArray:
    """``argmin Σ w (y − x·β − b)² + penalty · |β|²``, float64 (P,); the intercept b is free."""
    matrix = moments.gram + penalty * np.eye(len(moments.cross))
    return np.asarray(np.linalg.lstsq(matrix, moments.cross, rcond=None)[0], np.float64)


def fit_lasso(moments: Moments, penalty: float, start: DoubleArray | None = None) -> DoubleArray:
    """``argmin Σ w (y − x·β − b)² / 2 + penalty · |β|₁`` by coordinate descent (Friedman et al. 2010)."""
    found = np.zeros(len(moments.cross)) if start is None else start.copy()
    scale = np.abs(moments.cross).max() or 1.0
    for _ in range(_SWEEPS):
        largest = 0.0
        for column, own in enumerate(moments.gram.diagonal()):
            if own <= 0:
                continue
            pull = moments.cross[column] - moments.gram[column] @ found + own * found[column]
            value = np.sign(pull) * max(abs(pull) - penalty, 0) / own
            largest = max(largest, abs(value - found[column]) * own)
            found[column] = value
        if largest < _ENOUGH * scale:
            break
    return found


def choose_columns(moments: Moments, count: int) -> npt.NDArray[np.intp]:
    """At most `count` columns: the first that the lasso takes as its penalty shrinks from where it takes none."""
    if count >= len(moments.cross):
        return np.arange(len(moments.cross))
    penalty = largest = float(np.abs(moments.cross).max())
    found = np.zeros(len(moments.cross))
    while np.count_nonzero(found) < count and penalty > _SMALLEST * largest:
        penalty *= _STEP
        found = fit_lasso(moments, penalty, found)
    order = np.argsort(-np.abs(found), kind="stable")[:count]
    return np.sort(order[found[order] != 0])
