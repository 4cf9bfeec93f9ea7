"""Comparing two actions on a noisy machine: alternate them, and look at the ratio pair by pair."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

CONFIDENCE = 0.95
RESAMPLES = 2000


@dataclass(frozen=True)
class Ratio:
    """Median of the paired ratios with its 95 % bootstrap interval, and the median times in milliseconds."""

    median: float
    low: float
    high: float
    milliseconds: float
    reference_milliseconds: float

    def __str__(self) -> str:
        return (
            f"{self.median:.3f} [{self.low:.3f}, {self.high:.3f}]  "
            f"({self.milliseconds:.2f} ms against {self.reference_milliseconds:.2f} ms)"
        )


def compare(action: Callable[[], object], reference: Callable[[], object], pairs: int, repeat: int = 1) -> Ratio:
    """Time `action` against `reference`, `repeat` calls at a time, order swapped at every other pair."""
    for warm_up in (action, reference, action, reference):
        warm_up()
    times = np.empty((pairs, 2))
    for pair in range(pairs):
        order = (0, 1) if pair % 2 == 0 else (1, 0)
        for which in order:
            call = (action, reference)[which]
            start = time.perf_counter()
            for _ in range(repeat):
                call()
            times[pair, which] = (time.perf_counter() - start) / repeat
    ratios = times[:, 0] / times[:, 1]
    rng = np.random.default_rng(0)
    medians = np.median(rng.choice(ratios, (RESAMPLES, pairs)), axis=1)
    low, high = np.quantile(medians, [(1 - CONFIDENCE) / 2, (1 + CONFIDENCE) / 2])
    milliseconds = np.median(times, axis=0) * 1000
    return Ratio(float(np.median(ratios)), float(low), float(high), *map(float, milliseconds))
