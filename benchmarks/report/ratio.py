"""Medians with quartiles, and ratios by round: samples of one round have the same load on the machine."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

CONFIDENCE = 0.95
RESAMPLES = 2000


@dataclass(frozen=True)
class Spread:
    """The median of some samples and their quartiles."""

    median: float
    lower: float
    upper: float
    count: int


@dataclass(frozen=True)
class Ratio:
    """A median ratio, with its 95 % bootstrap interval; for single samples, the interval is the median."""

    median: float
    low: float
    high: float


def spread(samples: Sequence[float]) -> Spread:
    lower, median, upper = np.quantile(samples, [0.25, 0.5, 0.75])
    return Spread(float(median), float(lower), float(upper), len(samples))


def paired_ratio(samples: Sequence[float], reference: Sequence[float]) -> Ratio:
    """The median over rounds of samples[i] / reference[i]."""
    if len(samples) != len(reference):
        raise ValueError(f"found {len(samples)} and {len(reference)} samples, expected one of each per round")
    ratios = np.asarray(samples) / np.asarray(reference)
    return with_interval(float(np.median(ratios)), resample_medians(ratios, np.random.default_rng(0)))


def unpaired_ratio(samples: Sequence[float], reference: Sequence[float]) -> Ratio:
    """The ratio of the medians, for samples that share no rounds."""
    rng = np.random.default_rng(0)
    upper, lower = (resample_medians(np.asarray(side), rng) for side in (samples, reference))
    return with_interval(float(np.median(samples) / np.median(reference)), upper / lower)


def resample_medians(values: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Medians (RESAMPLES,) of the values drawn with replacement."""
    medians: np.ndarray = np.median(rng.choice(values, (RESAMPLES, len(values))), axis=1)
    return medians


def with_interval(median: float, resampled: np.ndarray) -> Ratio:
    low, high = np.quantile(resampled, [(1 - CONFIDENCE) / 2, (1 + CONFIDENCE) / 2])
    return Ratio(median, float(low), float(high))
