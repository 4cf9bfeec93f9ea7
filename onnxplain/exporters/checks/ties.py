"""Moving equal values apart before differences are taken."""

from __future__ import annotations

import numpy as np

# The distance of two neighbours, in root mean squares of the values. The first step of a finite difference is a
# twentieth of it.
TIE_BREAK = 2e-8
# Margin and distance for quantized values, in steps of the integer. They are larger than the change that moved features
# cause, but much smaller than 1.
INTEGER_MARGIN, INTEGER_TIE_BREAK = 2e-3, 1e-5
WIDEST_WINDOW = 16


def features_off_the_ties(features: np.ndarray) -> np.ndarray:
    """Features [N, K, h, w], float64, moved slightly so that no two are equal.

    Features can be exactly equal: 0 after a ReLU, 6 after a ReLU6, integers of a quantized file. A pool or a bound
    after them then has no derivative. After the move, the first of the equal values is the largest, and a value on a
    bound lies outside it. The gradient rules decide such cases in the same way.
    """
    scale = float(np.sqrt(np.mean(features**2))) or 1.0
    return _moved(features, 0.0, TIE_BREAK * scale)


def integers_off_the_ties(integers: np.ndarray) -> np.ndarray:
    """As `features_off_the_ties`, for quantized values of any shape; returns float64."""
    return _moved(integers, INTEGER_MARGIN, INTEGER_TIE_BREAK)


def _moved(values: np.ndarray, margin: float, distance: float) -> np.ndarray:
    """Lower each position of a map a little more than the one before it; raise the largest values instead.

    The step from one row to the next is larger than the steps across a pooling window. Within a window, an earlier row
    therefore stays above a later one.
    """
    rows, columns = (1, 1, *values.shape)[-2:]
    depth = 1.0 + WIDEST_WINDOW * np.arange(rows)[:, None] + np.arange(columns)
    at_the_top = values == values.max()
    moved = np.where(at_the_top, margin + distance * (1.0 + depth.max() - depth), -margin - distance * depth)
    return np.asarray((values + moved).reshape(values.shape))
