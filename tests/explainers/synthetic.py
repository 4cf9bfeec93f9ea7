"""Scores of a white image under masks, whose RISE maps are known exactly: every mask there can be is counted."""

from __future__ import annotations

import itertools
from collections.abc import Callable

import numpy as np

from onnxplain.explainers.masked.masks import MaskDraw, MaskGeometry

SIZE_HW, GRID = (12, 18), 3
WHITE = np.full((*SIZE_HW, 3), 255, np.uint8)
BLACK = (0.0, 0.0, 0.0)


def curved(batch_nchw: np.ndarray) -> np.ndarray:
    """Three scores (N, 3) that are far from linear in the mask, each row from its own image alone."""
    shown = batch_nchw.mean(axis=1, dtype=np.float64) / 255
    left, right, corner = (
        part.reshape(len(shown), -1).mean(axis=1) for part in (shown[:, :, :9], shown[:, :, 9:], shown[:, :5, :7])
    )
    return np.stack([1 / (1 + np.exp(9 - 12 * left - 6 * corner)), 4 * left * right, corner**3], axis=1)


def linear(batch_nchw: np.ndarray) -> np.ndarray:
    """A score (N, 1) that is linear in the mask."""
    shown = batch_nchw.mean(axis=1, dtype=np.float64) / 255
    weights = np.random.default_rng(1).normal(size=SIZE_HW)
    return (0.3 + (shown * weights).mean(axis=(1, 2)))[:, None]


def exact_maps(scores: Callable[[np.ndarray], np.ndarray], keep: float) -> np.ndarray:
    """E[s · M(x)] / keep, float64 (C, H, W): the sum over all grids and shifts, each with its probability."""
    geometry = MaskGeometry(SIZE_HW, GRID, keep)
    grids = np.array(list(itertools.product([False, True], repeat=GRID * GRID))).reshape(-1, GRID, GRID)
    shown = grids.sum(axis=(1, 2))
    probabilities = keep**shown * (1 - keep) ** (GRID * GRID - shown)
    shifts = list(np.ndindex(*geometry.cell_hw))
    total = 0.0
    for shift in shifts:
        masks = geometry.render(MaskDraw(grids, np.tile(shift, (len(grids), 1))))
        copies = np.repeat(255 * masks[:, None], 3, axis=1)
        total = total + np.einsum("n,nc,nyx->cyx", probabilities, scores(copies), masks, optimize=True)
    return total / len(shifts) / keep
