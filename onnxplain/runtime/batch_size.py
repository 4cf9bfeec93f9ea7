"""How many images a session should take at a time."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from onnxplain.runtime.binding import HOST, memory_of

if TYPE_CHECKING:
    from onnxplain.runtime.engine import Engine

_SIZES = (1, 2, 4, 8, 16)
# A GPU is filled by larger batches only.
_DEVICE_SIZES = (*_SIZES, 32, 64)
_TIMED_RUNS = 2
# Timing may take about this long: slow models, whose batches gain least, are tried at small sizes only.
_SECONDS = 0.25
# A larger batch must save at least this share of the time per image, for the memory it takes.
_LEAST_GAIN = 0.03


def best_batch_size(engine: Engine) -> int:
    """The batch size with the least time per image; the graph's own where it fixes one.

    Found by timing blank images, once per engine: 1, 2, 4, 8, 16 (on a GPU also 32 and 64), twice each after
    a run to warm up, until a quarter of a second is spent.
    """
    return engine.fixed_batch or engine.remember("best batch size", lambda: _time_sizes(engine))


def _time_sizes(engine: Engine) -> int:
    bound = engine.bind([engine.class_output])
    best_size, best_seconds, spent = 1, float("inf"), 0.0
    for size in _SIZES if memory_of(engine.providers) == HOST else _DEVICE_SIZES:
        if spent > _SECONDS:
            break
        bound.bind(engine.spec.input.name, engine.input_buffer(size))
        bound.run(size)
        runs = []
        for _ in range(_TIMED_RUNS):
            start = time.perf_counter()
            bound.run(size)
            runs.append(time.perf_counter() - start)
        spent += sum(runs)
        if min(runs) / size < (1 - _LEAST_GAIN) * best_seconds:
            best_size, best_seconds = size, min(runs) / size
    return best_size
