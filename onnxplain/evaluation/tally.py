"""Means over a stream of images, with confidence intervals from the Poisson bootstrap.

Drawing N images with replacement needs all images in memory. Instead, each image gets an independent Poisson(1) weight
per replicate: the limit of the multinomial draw (Hanley & MacGibbon, Creating non-parametric bootstrap samples using
Poisson frequencies, 2006; Chamandy et al., Estimating uncertainty for massive data streams, 2012). A replicate is then
a pair of running sums. A statistic of the means, such as their maximum, is computed at the end.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from onnxplain.evaluation.metrics.statistic import Statistic
from onnxplain.runtime.arrays import DoubleArray

BOOTSTRAP_REPLICATES = 1_000
CONFIDENCE = 0.95
_BLOCK = 64
_PERCENTILES = [50 * (1 - CONFIDENCE), 50 * (1 + CONFIDENCE)]


@dataclass(frozen=True)
class Estimate:
    """The value of a metric for a data set.

    `value`: over `count` images; `low`, `high`: its 95 % interval, the percentiles of the replicates; all None if no
    image counts, and the interval is None for a number that is not computed from means. `details`: further values of
    the statistic.
    """

    value: float | None
    low: float | None
    high: float | None
    count: int
    details: dict[str, object]


class Tally:
    """The running sums of one statistic; memory depends only on its length."""

    def __init__(self, statistic: Statistic, replicates: int = BOOTSTRAP_REPLICATES) -> None:
        self.statistic, self.count = statistic, 0
        self._sums = np.zeros((1 + replicates, statistic.length))
        self._weights = np.zeros(1 + replicates)
        self._values: list[DoubleArray] = []
        self._drawn: list[npt.NDArray[np.int64]] = []

    def add(self, values: npt.ArrayLike, weights: npt.NDArray[np.int64]) -> None:
        """Add the values of one image, (length,), with its weights, int64 (replicates,), see `draw_weights`."""
        self._values.append(np.asarray(values, np.float64).reshape(self.statistic.length))
        self._drawn.append(weights)
        self.count += 1
        if len(self._values) == _BLOCK:
            self._flush()

    def estimate(self) -> Estimate:
        """The statistic of all images so far, with its interval."""
        self._flush()
        if not self.count:
            return Estimate(None, None, None, 0, {})
        # A replicate may have no image at all.
        drawn = self._weights > 0
        means = self._sums[drawn] / self._weights[drawn, None]
        value, *replicates = self.statistic.reduce(means).tolist()
        low, high = np.percentile(replicates or [value], _PERCENTILES).tolist()
        return Estimate(value, low, high, self.count, self.statistic.details(means[0]))

    def pointwise(self) -> tuple[DoubleArray, DoubleArray, DoubleArray]:
        """The mean of each value over all images so far, and its interval: three arrays float64 (length,)."""
        self._flush()
        drawn = self._weights > 0
        means, *replicates = self._sums[drawn] / self._weights[drawn, None]
        low, high = np.percentile(replicates or [means], _PERCENTILES, axis=0)
        return means, low, high

    def _flush(self) -> None:
        """Add the buffered images to the sums. Row 0 counts each image once; the other rows use the weights."""
        if self._values:
            weights = np.pad(np.array(self._drawn).T, ((1, 0), (0, 0)), constant_values=1).astype(np.float64)
            self._sums += weights @ np.array(self._values)
            self._weights += weights.sum(axis=1)
            self._values, self._drawn = [], []


def draw_weights(seed: int, image: str, replicates: int = BOOTSTRAP_REPLICATES) -> npt.NDArray[np.int64]:
    """How often each replicate draws an image: int64 (replicates,), Poisson(1), from (seed, image) only.

    The weights are the same for every metric and method, so differences between them can be resampled too. They are
    also the same for all records of one image, which are not independent of each other.
    """
    number = int.from_bytes(hashlib.sha256(image.encode()).digest()[:8], "little")
    return np.random.default_rng([seed, number]).poisson(1.0, replicates)
