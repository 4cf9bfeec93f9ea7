"""Scorers of a white image whose players are known: each reads how much of each player is shown."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from math import factorial

import numpy as np

SIZE_HW = (6, 20)
WHITE = np.full((*SIZE_HW, 3), 255, np.uint8)
BLACK = (0.0, 0.0, 0.0)
PLAYERS = 10
# Ten players of unequal sizes.
LABELS = np.repeat(np.repeat(np.arange(PLAYERS).reshape(2, 5), 3, axis=0), 4, axis=1)
LABELS[0, :2] = 1

Game = Callable[[np.ndarray], np.ndarray]


def scorer(game: Game, labels: np.ndarray = LABELS) -> Callable[[np.ndarray], np.ndarray]:
    """A score function (N, 1): the game, (N, P) → (N,), of the share of each player that is shown."""
    numbers = np.unique(labels)

    def scores(batch_nchw: np.ndarray) -> np.ndarray:
        shown = batch_nchw.mean(axis=1, dtype=np.float64) / 255
        return game(np.stack([shown[:, labels == number].mean(axis=1) for number in numbers], axis=1))[:, None]

    return scores


def one(shown: np.ndarray) -> np.ndarray:
    """Reads player 3 alone."""
    return 0.2 + 0.5 * shown[:, 3]


WEIGHTS = np.array([0.3, -0.2, 0.0, 0.1, 0.0, 0.05, -0.1, 0.0, 0.15, 0.25])


def additive(shown: np.ndarray) -> np.ndarray:
    """A sum over the players."""
    return 0.1 + shown @ WEIGHTS


def exclusive(shown: np.ndarray) -> np.ndarray:
    """Players 2 and 7: one of them, not both."""
    return shown[:, 2] + shown[:, 7] - 2 * shown[:, 2] * shown[:, 7]


def tangled(shown: np.ndarray) -> np.ndarray:
    """Far from linear, every player with every other."""
    rng = np.random.default_rng(5)
    hidden = np.tanh(shown @ rng.normal(size=(PLAYERS, 8)) + rng.normal(size=8))
    return hidden @ rng.normal(size=8) / 4


def shapley_values(game: Game, players: int = PLAYERS) -> np.ndarray:
    """φ_i = Σ_S |S|! (P − |S| − 1)! / P! · (v(S ∪ i) − v(S)) over all coalitions without i."""
    subsets = np.array(list(itertools.product([0.0, 1.0], repeat=players)))
    values = {tuple(subset): value for subset, value in zip(subsets, game(subsets), strict=True)}
    found = np.zeros(players)
    for subset, value in values.items():
        size = int(sum(subset))
        for player in np.flatnonzero(np.array(subset) == 0):
            joined = (*subset[:player], 1.0, *subset[player + 1 :])
            share = factorial(size) * factorial(players - size - 1) / factorial(players)
            found[player] += share * (values[joined] - value)
    return found
