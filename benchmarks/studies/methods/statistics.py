"""Means over images with their 95 % intervals, and differences of two methods on the same images."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from onnxplain.evaluation.metrics.statistic import BEST_LEVEL, MEAN, Statistic, unpack_bits
from onnxplain.evaluation.tally import Estimate, Tally, draw_weights
from onnxplain.explainers.levels import LEVELS

SEED = 0

Values = Mapping[str, float]
"""A number per image, by its name."""


def mean_of(values: Mapping[str, object], statistic: Statistic = MEAN) -> Estimate:
    """The mean over images, or another statistic of the means, with its interval from the bootstrap over images."""
    tally = Tally(statistic)
    for image, value in values.items():
        tally.add(np.asarray(value, np.float64), draw_weights(SEED, image))
    return tally.estimate()


def max_box_accuracy(hits: Mapping[str, str]) -> Estimate:
    """MaxBoxAcc, a share: of the hits per level of each image, as `pack_bits` writes them."""
    return mean_of({image: unpack_bits(bits, LEVELS) for image, bits in hits.items()}, BEST_LEVEL)


def difference(values: Values, others: Values) -> Estimate:
    """The mean difference on the images that both have; each replicate draws the same images for both."""
    return mean_of({image: value - others[image] for image, value in values.items() if image in others})


def mean_ranks(columns: Mapping[str, Mapping[str, float]]) -> dict[str, float]:
    """For each row its mean relative rank over the columns that have it: 0 for the largest value, 1 for the least."""
    ranks: dict[str, list[float]] = {}
    for column in columns.values():
        for rank, name in enumerate(sorted(column, key=lambda each: -column[each])):
            ranks.setdefault(name, []).append(rank / max(len(column) - 1, 1))
    return {name: float(np.mean(found)) for name, found in ranks.items()}
