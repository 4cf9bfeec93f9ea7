"""Which players are shown together for KernelSHAP: coalitions with their weights, in pairs with their complements."""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from math import comb
from typing import Literal, TypeAlias

import numpy as np
import numpy.typing as npt

from onnxplain.explainers.hiding.weighted_fit import parts_of
from onnxplain.runtime.arrays import DoubleArray

Sampling: TypeAlias = Literal["kernel", "leverage"]

# Coalitions that are listed one by one, at most.
_MOST_LISTED = 2**20


@dataclass(frozen=True, eq=False)
class Coalitions:
    """Coalitions in pairs: `first`, bool (n, P), each followed by its complement.

    `weights`: float64 (n,), of both of a pair. The pairs 0 … `listed` − 1 are all of their sizes; the others are drawn,
    and their weights are an estimate of the same sum.
    """

    first: npt.NDArray[np.bool_]
    weights: DoubleArray
    listed: int

    @property
    def shown(self) -> npt.NDArray[np.bool_]:
        """Coalitions and complements in turn, bool (2n, P)."""
        return np.stack([self.first, ~self.first], axis=1).reshape(-1, self.first.shape[1])


def choose_coalitions(players: int, pairs: int, sampling: Sampling, seed: int) -> Coalitions:
    """`pairs` pairs of coalitions of `players` players, or all there are if that is less.

    The weight of a coalition S is Shapley's kernel, ``(P − 1) / (C(P, |S|) · |S| · (P − |S|))`` (Lundberg & Lee 2017,
    theorem 2). Each player alone and missing is always listed. From there inward, a size and its complement are listed
    whole where the drawn pairs would list them about once anyway, as in the authors' code. The others are drawn: the
    size by its weight ("kernel", Covert & Lee 2021) or alike for all sizes ("leverage", Musco & Witter 2025), then a
    coalition of that size; drawn weights are divided by these chances.
    """
    sizes = np.arange(1, players // 2 + 1)
    # A size and its complement together; half of the players are their own.
    both = np.where(2 * sizes == players, 1, 2)
    # The kernel times how many there are.
    mass = both * (players - 1) / (sizes * (players - sizes))
    mass /= mass.sum()
    counts = [comb(players, int(size)) * int(each) // 2 for size, each in zip(sizes, both, strict=True)]
    chances = mass if sampling == "kernel" else both / both.sum()
    left, first, weights = pairs, [np.zeros((0, players), bool)], [np.zeros(0)]
    whole, every = 0, pairs >= all_pairs(players)
    while whole < len(sizes) and counts[whole] <= min(left, _MOST_LISTED):
        if whole and not every and left * chances[whole] / chances[whole:].sum() < counts[whole]:
            break
        first.append(_list_size(players, int(sizes[whole])))
        weights.append(np.full(counts[whole], mass[whole] / counts[whole] / 2))
        left -= counts[whole]
        whole += 1
    listed = pairs - left
    if left > 0 and whole < len(sizes):
        generator = np.random.Generator(np.random.Philox(key=seed))
        share = chances[whole:] / chances[whole:].sum()
        drawn = whole + _draw_sizes(share, left, generator)
        first.append(_draw_coalitions(players, sizes[drawn], generator))
        weights.append(mass[drawn] / share[drawn - whole] / left / 2)
    return Coalitions(np.concatenate(first), np.concatenate(weights), listed)


def all_pairs(players: int) -> int:
    """The number of pairs of coalitions, without the empty one and the whole: 2^(P − 1) − 1."""
    return int(2 ** (players - 1) - 1)


def _list_size(players: int, size: int) -> npt.NDArray[np.bool_]:
    """All coalitions of a size; of half of the players those with player 0, so that no complement is listed twice."""
    half = 2 * size == players
    chosen = [each for each in itertools.combinations(range(players), size) if not half or each[0] == 0]
    shown = np.zeros((len(chosen), players), bool)
    shown[np.arange(len(chosen))[:, None], np.array(chosen)] = True
    return shown


def _draw_sizes(share: DoubleArray, count: int, generator: np.random.Generator) -> npt.NDArray[np.intp]:
    """Sizes with these chances, evenly: one in each of `count` equal parts of the distribution, in random order."""
    points = (np.arange(count) + generator.random(count)) / count
    return generator.permutation(np.searchsorted(share.cumsum(), points).clip(0, len(share) - 1))


def _draw_coalitions(
    players: int, sizes: npt.NDArray[np.intp], generator: np.random.Generator
) -> npt.NDArray[np.bool_]:
    """A random coalition of each size."""
    shown = np.empty((len(sizes), players), bool)
    for part in parts_of(len(sizes)):
        order = generator.random((part.stop - part.start, players)).argsort(axis=1)
        np.less(order.argsort(axis=1), sizes[part, None], out=shown[part])
    return shown
