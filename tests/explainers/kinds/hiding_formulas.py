"""The methods that hide parts of an image, written a second time from their papers, on the networks of this folder."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from scipy.optimize import direct

from onnxplain.explainers.hiding.coalitions import choose_coalitions
from onnxplain.explainers.hiding.hsic import balanced_bits
from onnxplain.explainers.hiding.lime import random_bits
from onnxplain.explainers.hiding.sobol import shifted_points
from tests.explainers.kinds.kind_networks import SIDE, Explained

GRID = 4
PLAYERS = GRID * GRID
OPTIONS: dict[str, dict[str, object]] = {
    "occlusion": {"window": 0.4, "stride": 0.3},
    "shap": {"players": "grid", "cells": PLAYERS, "evaluations": 70, "seed": 3},
    "lime": {"players": "grid", "cells": PLAYERS, "evaluations": 60, "seed": 3},
    "sobol": {"cells": PLAYERS, "evaluations": 90, "seed": 3},
    "hsic": {"cells": PLAYERS, "evaluations": 61, "seed": 3},
    # Five positions per width: the centre and those a third away, which do not depend on scores.
    "aise": {"evaluations": 31},
}


def scores_of(e: Explained, masks: np.ndarray) -> np.ndarray:
    """The scores of the image under masks (n, H, W); a hidden pixel is 0, the mean colour."""
    with torch.no_grad():
        copies = e.pixels() * torch.from_numpy(np.asarray(masks, np.float64))[:, None]
        return e.shown(e.network.features(copies)).numpy()


def spread(values: np.ndarray) -> np.ndarray:
    """Values of the cells of a grid (…, 16) at the pixels."""
    grid = np.asarray(values).reshape(*np.shape(values)[:-1], GRID, GRID)
    return grid.repeat(SIDE // GRID, axis=-2).repeat(SIDE // GRID, axis=-1)


def occlusion(e: Explained) -> np.ndarray:
    """A window of 13 pixels, every 10 pixels and at the edge."""
    total, covered = np.zeros((SIDE, SIDE)), np.zeros((SIDE, SIDE))
    whole = scores_of(e, np.ones((1, SIDE, SIDE)))[0]
    for top in (0, 10, 19):
        for left in (0, 10, 19):
            inside = np.zeros((SIDE, SIDE))
            inside[top : top + 13, left : left + 13] = 1
            total += (whole - scores_of(e, 1 - inside[None])[0]) * inside
            covered += inside
    return total / covered


def shap(e: Explained) -> np.ndarray:
    """The weighted regression with its constraint, by Lagrange's equations."""
    drawn = choose_coalitions(PLAYERS, 34, "kernel", 3)
    shown, weights = drawn.shown.astype(float), np.repeat(drawn.weights, 2)
    empty, whole = scores_of(e, spread(np.array([np.zeros(PLAYERS), np.ones(PLAYERS)])))
    values = scores_of(e, spread(shown)) - empty
    matrix, right = np.zeros((PLAYERS + 1, PLAYERS + 1)), np.zeros(PLAYERS + 1)
    matrix[:-1, :-1] = 2 * shown.T @ np.diag(weights) @ shown
    matrix[:-1, -1] = matrix[-1, :-1] = 1
    right[:-1], right[-1] = 2 * shown.T @ (weights * values), whole - empty
    return spread(np.linalg.solve(matrix, right)[:-1])


def lime(e: Explained) -> np.ndarray:
    """Ridge regression with a column for the intercept, which is not punished."""
    shown = np.concatenate([np.ones((1, PLAYERS)), random_bits(59, PLAYERS, 3)])
    weights = np.exp(-((1 - np.sqrt(shown.mean(axis=1))) ** 2) / (2 * 0.25**2))
    x = np.concatenate([shown, np.ones((60, 1))], axis=1)
    penalty = np.diag([1.0] * PLAYERS + [0.0])
    fitted = np.linalg.solve(x.T @ np.diag(weights) @ x + penalty, x.T @ (weights * scores_of(e, spread(shown))))
    return spread(fitted[:-1])


def sobol(e: Explained) -> np.ndarray:
    """Jansen's estimator, design by design."""
    points = shifted_points(5, 2 * PLAYERS, 3)
    first, second = points[:, :PLAYERS], points[:, PLAYERS:]
    own = scores_of(e, spread(first))
    indices = []
    for player in range(PLAYERS):
        replaced = first.copy()
        replaced[:, player] = second[:, player]
        indices.append(((own - scores_of(e, spread(replaced))) ** 2).sum() / 10 / own.var(ddof=1))
    return spread(np.array(indices))


def hsic(e: Explained) -> np.ndarray:
    """The trace of the four matrices."""
    shown = balanced_bits(60, PLAYERS, 3)
    scores = scores_of(e, spread(shown))
    apart = np.abs(scores[:, None] - scores[None])
    kernel = np.exp(-(apart**2) / (2 * np.median(apart[apart > 0]) ** 2))
    centring = np.eye(60) - 1 / 60
    traces = [
        np.trace((player[:, None] == player[None]).astype(float) @ centring @ kernel @ centring) for player in shown.T
    ]
    return spread(np.array(traces) / 59**2)


def aise(e: Explained) -> np.ndarray:
    """The Gaussians at the positions that scipy's DIRECT asks for, each with what is kept minus what is left."""
    y, x = ((np.arange(SIDE) + 0.5) / SIDE for _ in range(2))
    total = np.zeros((SIDE, SIDE))
    for width in (0.1, 0.175, 0.25):
        found: list[tuple[float, np.ndarray]] = []

        def look(place: np.ndarray, width: float = width, found: list[tuple[float, np.ndarray]] = found) -> float:
            gaussian = np.exp(-((y[:, None] - place[0]) ** 2 + (x[None] - place[1]) ** 2) / (2 * width**2))
            kept, left = scores_of(e, np.stack([gaussian, 1 - gaussian]))
            found.append((kept - left, gaussian))
            return left - kept

        direct(look, [(0, 1), (0, 1)], eps=0.1, maxfun=5, locally_biased=False)
        lowest = min(gain for gain, _ in found[:5])
        density = sum((gain - lowest) * gaussian for gain, gaussian in found[:5])
        total += density / density.max() if density.max() > 0 else density
    return total


FORMULAS: dict[str, Callable[[Explained], np.ndarray]] = {
    "occlusion": occlusion,
    "shap": shap,
    "lime": lime,
    "sobol": sobol,
    "hsic": hsic,
    "aise": aise,
}
