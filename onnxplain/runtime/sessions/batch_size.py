"""Find the fastest batch size of a session while it works."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from onnxplain.machine.providers import HOST
from onnxplain.runtime.sessions.binding import memory_of

if TYPE_CHECKING:
    from onnxplain.runtime.engine import Engine

_SIZES = (1, 2, 4, 8, 16)
# A GPU needs larger batches to be busy.
_DEVICE_SIZES = (*_SIZES, 32, 64)
# Timed runs of each of two compared sizes, in turn. The first run of each is a warm-up.
_RUNS = 6
# A larger batch takes more memory, so it must save at least this share of the time per image.
_LEAST_GAIN = 0.03
# The search ends after this many sizes in a row without that gain. Larger sizes are then never tried.
_MOST_LOSSES = 2


class BatchSizeSearch:
    """Search for the batch size with the smallest median time per image among increasing `sizes`.

    The best size so far is compared with the next size, its challenger. The two take turns, so other load on the
    machine slows both. The search times the caller's own work and computes nothing extra: the caller runs `size`
    images, then calls `record` with the time. Threads may share a search.
    """

    def __init__(self, sizes: Sequence[int]) -> None:
        self._best, *self._challengers = sizes
        self._losses = 0
        self._seconds_per_image: dict[int, list[float]] = {}
        self._lock = threading.Lock()

    @property
    def size(self) -> int:
        """How many images to run next."""
        with self._lock:
            return min(self._compared(), key=self._count) if self._challengers else self._best

    def record(self, size: int, seconds: float) -> None:
        """Record the time of a run of `size` images. Sizes that are not being compared are ignored."""
        with self._lock:
            compared = self._compared()
            if len(compared) < 2 or size not in compared:
                return
            self._seconds_per_image.setdefault(size, []).append(seconds / size)
            if min(map(self._count, compared)) == _RUNS:
                self._decide(*compared)

    def give_up(self, size: int) -> bool:
        """Record that a run of `size` images failed, e.g. out of memory. True: try again with `self.size` images."""
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
    """A search among the sizes 1, 2, 4, 8, 16, on a GPU also 32 and 64. A fixed batch size is the only size."""
    if fixed_batch is not None:
        return BatchSizeSearch([fixed_batch])
    return BatchSizeSearch(_SIZES if memory_of(providers) == HOST else _DEVICE_SIZES)


def search_batch_size(engine: Engine, batch_size: int | None = None) -> BatchSizeSearch:
    """The engine's own search, which continues from call to call.

    If the graph fixes the size or `batch_size` is given, that is the only size.
    """
    if batch_size is None or engine.fixed_batch is not None:
        return engine.batch_size_search
    return BatchSizeSearch([batch_size])
