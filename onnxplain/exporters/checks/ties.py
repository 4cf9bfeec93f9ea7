"""Moving equal values apart before differences are taken."""

from __future__ import annotations

import numpy as np

# In root mean squares, the distance of two neighbours. The first step of a finite difference is a twentieth of it.
TIE_BREAK = 2e-8
# In steps of a quantized value: its own margin and distances, wider than what the moved features make of it, but far
# from the next integer.
INTEGER_MARGIN, INTEGER_TIE_BREAK = 2e-3, 1e-5
WIDEST_WINDOW = 16


def features_off_the_ties(features: np.ndarray) -> np.ndarray:
    """Features [N, K, h, w], float64, in general position.

    Where features are exactly equal (0 behind a ReLU, 6 behind a ReLU6, integers of a quantized file) a pool or a bound
    behind them has no derivative. Moved so, the first of the equals wins and what lies on a bound lies beyond it,
    which is what the rules say there.
    """
    scale = float(np.sqrt(np.mean(features**2))) or 1.0
    return _moved(features, 0.0, TIE_BREAK * scale)


def integers_off_the_ties(integers: np.ndarray) -> np.ndarray:
    """As `features_off_the_ties`, for quantized values of any shape, as float64."""
    return _moved(integers, INTEGER_MARGIN, INTEGER_TIE_BREAK)


def _moved(values: np.ndarray, margin: float, distance: float) -> np.ndarray:
    """Lower each position of a map a little more than the one before it; raise those at the very top instead.

    A row lies below the one before it by more than a window is wide, so that the order of a window is that of its rows.
    """
    rows, columns = (1, 1, *values.shape)[-2:]
    depth = 1.0 + WIDEST_WINDOW * np.arange(rows)[:, None] + np.arange(columns)
    at_the_top = values == values.max()
    moved = np.where(at_the_top, margin + distance * (1.0 + depth.max() - depth), -margin - distance * depth)
    return np.asarray((values + moved).reshape(values.shape))
