"""How many images a session should take at a time, found while it works."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from onnxplain.runtime.binding import HOST, memory_of

if TYPE_CHECKING:
    from onnxplain.runtime.engine import Engine

_SIZES = (1, 2, 4, 8, 16)
# A GPU is filled by larger batches only.
_DEVICE_SIZES = (*_SIZES, 32, 64)
# Of each of two sizes that are compared, in turn; the first is to warm up.
_RUNS = 6
# A larger batch must save at least this share of the time per image, for the memory it takes.
_LEAST_GAIN = 0.03
# So many sizes in a row without that gain end the search: those behind them are not tried, nor is their memory taken.
_MOST_LOSSES = 2


class BatchSizeSearch:
    """The size with the least median time per image among increasing `sizes`, one challenger after the other.

    The best so far and its challenger take turns, so that whatever else slows the machine meets both. The runs are
    those of the caller's own work, so nothing is computed for the search alone: take `size` images, `record` how long
    they took. Threads may share a search.
    """

    def __init__(self, sizes: Sequence[int]) -> None:
        self._best, *self._challengers = sizes
        self._losses = 0
        self._seconds_per_image: dict[int, list[float]] = {}
        self._lock = threading.Lock()

    @property
    def size(self) -> int:
        """How many images to take next."""
        with self._lock:
            return min(self._compared(), key=self._count)

    def record(self, size: int, seconds: float) -> None:
        """A run of `size` images took so long; sizes that are not being compared are ignored."""
        with self._lock:
            compared = self._compared()
            if len(compared) < 2 or size not in compared:
                return
            self._seconds_per_image.setdefault(size, []).append(seconds / size)
            if min(map(self._count, compared)) == _RUNS:
                self._decide(*compared)

    def give_up(self, size: int) -> bool:
        """A run of `size` images failed, for want of memory, say: whether smaller ones are to be taken instead."""
        with self._lock:
            if size <= self._best:
                return False
            self._challengers, self._seconds_per_image = [], {}
            return True

    def _compared(self) -> tuple[int, ...]:
        return self._best, *self._challengers[:1]

    def _count(self, size: int) -> int:
        return len(self._seconds_per_image.get(size, ()))

    def _decide(self, best: int, challenger: int) -> None:
        medians = {size: np.median(runs[1:]) for size, runs in self._seconds_per_image.items()}
        if medians[challenger] < (1 - _LEAST_GAIN) * medians[best]:
            self._best, self._losses = challenger, 0
        else:
            self._losses += 1
        self._challengers = self._challengers[1:] if self._losses < _MOST_LOSSES else []
        self._seconds_per_image = {}


def open_search(providers: Sequence[str], fixed_batch: int | None) -> BatchSizeSearch:
    """The search of a session among 1, 2, 4, 8, 16, on a GPU also 32 and 64; a fixed batch is the only size."""
    if fixed_batch is not None:
        return BatchSizeSearch([fixed_batch])
    return BatchSizeSearch(_SIZES if memory_of(providers) == HOST else _DEVICE_SIZES)


def search_batch_size(engine: Engine, batch_size: int | None = None) -> BatchSizeSearch:
    """The engine's own search, which goes on from call to call.

    There is nothing to search where the graph fixes the size or `batch_size` is given.
    """
    if batch_size is None or engine.fixed_batch is not None:
        return engine.batch_size_search
    return BatchSizeSearch([batch_size])
