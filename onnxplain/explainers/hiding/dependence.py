"""The dependence of a score on bits, by kernels. A few rows of a kernel at a time: memory grows with the copies."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from onnxplain.explainers.hiding.jackknife import GROUPS
from onnxplain.machine.small_products import small_product
from onnxplain.runtime.arrays import DoubleArray

# Players whose sums are made together; the kernel is made anew for each such piece.
_PLAYERS = 256
# Columns of each group that a row is multiplied with at once: they stay in the processor's cache.
_COLUMNS = 256


def dependence(shown: npt.NDArray[np.bool_], scores: DoubleArray) -> tuple[DoubleArray, DoubleArray]:
    """HSIC of each player, float64 (P,), and the same without one group of copies after the other, (G, P).

    `shown`: bits (n, P); `scores`: (n,). Copy i is in group i mod G. HSIC is ``tr(K H L H) / (n − 1)²``, H = I − 1/n
    (Gretton et al. 2005), with K = 1 where two bits agree, else 0, and ``L = exp(−(y − y')² / (2 σ²))``, σ the median
    distance of two different scores.

    With s = ±1 for shown and hidden, K = (1 + s sᵀ)/2. So with m the mean of s over the copies C that are left, HSIC is
    ``(A − 2 m B + m² D) / 2 / (|C| − 1)²``, ``A = Σ s_i L_ij s_j``, ``B = Σ L_ij s_j``, ``D = Σ L_ij``, sums over
    C × C. Sums over a group × a group are enough for all.
    """
    square = median_square(scores)
    scale = 1 / (2 * square) if square else 0.0
    whole, without = [], []
    left = np.concatenate([np.ones((1, GROUPS)), 1 - np.eye(GROUPS)])
    for start in range(0, shown.shape[1], _PLAYERS):
        signs = np.where(shown[:, start : start + _PLAYERS], 1.0, -1.0)
        a, b, d = (np.einsum("kg,kh,hgp->kp", left, left, sums) for sums in _sums(signs, scores, scale))
        counts = left @ _by_group(np.ones((len(signs), 1))).sum(axis=0)
        means = left @ _by_group(signs).sum(axis=0) / counts
        found = (a - 2 * means * b + means**2 * d) / 2 / (counts - 1) ** 2
        whole.append(found[0])
        without.append(found[1:])
    return np.concatenate(whole), np.concatenate(without, axis=1)


def _sums(signs: DoubleArray, scores: DoubleArray, scale: float) -> tuple[DoubleArray, DoubleArray, DoubleArray]:
    """The sums A, B and D of every group (of j) × every group (of i), float64 (G, G, P), (G, G, P) and (G, G, 1)."""
    columns = _by_group(np.concatenate([signs, np.ones((len(signs), 1))], axis=1))
    grouped = _by_group(scores[:, None])[..., 0]
    sums = np.zeros((GROUPS, GROUPS, columns.shape[2]))
    halves = np.zeros_like(sums)
    for start in range(0, len(columns), _COLUMNS):
        part = slice(start, start + _COLUMNS)
        right, right_scores = np.ascontiguousarray(columns[part].swapaxes(0, 1)), grouped[part].T[:, None]
        # Each step has a row of each group.
        for row_scores, row in zip(grouped, columns, strict=True):
            kernel = row_scores[:, None] - right_scores
            kernel *= kernel
            kernel *= -scale
            product = small_product(np.exp(kernel, out=kernel), right)
            sums += row * product
            halves += row[:, -1:] * product
    return sums[..., :-1], halves[..., :-1], halves[..., -1:]


def _by_group(rows: DoubleArray) -> DoubleArray:
    """Rows (n, P) as (⌈n / G⌉, G, P), with zeros in the end."""
    missing = -len(rows) % GROUPS
    return np.concatenate([rows, np.zeros((missing, rows.shape[1]))]).reshape(-1, GROUPS, rows.shape[1])


def median_square(scores: DoubleArray) -> float:
    """The median of the squared distances of two different scores; 0 where all are equal."""
    ordered = np.sort(scores)
    equal = _close_pairs(ordered, 0.0)
    different = len(ordered) * (len(ordered) - 1) // 2 - equal
    if not different:
        return 0.0
    squares = []
    for rank in {(different + 1) // 2, different // 2 + 1}:
        low, high = 0.0, float(ordered[-1] - ordered[0])
        while low < (middle := (low + high) / 2) < high:
            if _close_pairs(ordered, middle) >= equal + rank:
                high = middle
            else:
                low = middle
        # The largest distance that is counted.
        last = np.searchsorted(ordered, ordered + high, side="right") - 1
        squares.append(float((ordered[last] - ordered).max()) ** 2)
    return float(np.mean(squares))


def _close_pairs(ordered: DoubleArray, distance: float) -> int:
    """How many pairs of two scores are at most so far apart."""
    count = len(ordered)
    return int(np.searchsorted(ordered, ordered + distance, side="right").sum()) - count * (count + 1) // 2
