"""Numbers for operator cases: off the kinks, exact in float32, or all different."""

from __future__ import annotations

import numpy as np

from tests.exporters.graphs import integers

RNG = np.random.default_rng(3)


def real(*shape: int, low: float = -2.0, high: float = 2.0) -> np.ndarray:
    """Values on a coarse grid off the kinks at 0 and ±1, so that no step crosses one."""
    return np.asarray(np.round(RNG.uniform(low, high, shape) * 8) / 8 + 1 / 16)


def positive(*shape: int) -> np.ndarray:
    """As `real`, between 1/2 and 2."""
    return real(*shape, low=0.5, high=2.0)


def ints(*shape: int) -> np.ndarray:
    """Small whole numbers, exact in float32."""
    return integers(RNG, shape)


def distinct(*shape: int) -> np.ndarray:
    """Whole numbers in random order, none twice: every window has one maximum, also after a step of 1/4."""
    return RNG.permutation(int(np.prod(shape))).reshape(shape).astype(np.float32)


def axes(*values: int) -> np.ndarray:
    """An int64 vector: axes, indices, sizes, bounds."""
    return np.array(values, np.int64)
