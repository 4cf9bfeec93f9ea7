"""Sums over the copies of an image, in the groups that the jackknife leaves out one after the other."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import numpy.typing as npt

from onnxplain.explainers.hiding.jackknife import GROUPS, jackknife
from onnxplain.runtime.arrays import DoubleArray


class CopySums:
    """Sums of arrays of one shape, one array per copy; copy i belongs to group i mod 8."""

    def __init__(self, shape: tuple[int, ...]) -> None:
        self._groups, self._copies = np.zeros((GROUPS, *shape)), 0

    def add(self, values: DoubleArray) -> None:
        """Take in the arrays of the next copies, (n, …)."""
        for value in values:
            self._groups[self._copies % GROUPS] += value
            self._copies += 1

    def error_of(self, estimate: Callable[[DoubleArray], DoubleArray]) -> tuple[DoubleArray, DoubleArray | None]:
        """An estimate from the mean over all copies, and its standard error by the jackknife over groups of copies.

        None for fewer than 16 copies.
        """

        def of_copies(numbers: npt.NDArray[np.intp]) -> DoubleArray:
            # The jackknife leaves out whole groups.
            kept = np.unique(numbers % GROUPS)
            return estimate(self._groups[kept].sum(axis=0) / len(numbers))

        return jackknife(of_copies, self._copies)
