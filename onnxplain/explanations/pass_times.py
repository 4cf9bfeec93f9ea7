"""How long one run of a model takes on this machine: forward, with a gradient, and of its tail."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from statistics import median
from typing import TYPE_CHECKING

import numpy as np

from onnxplain.errors import OnnxplainError

if TYPE_CHECKING:
    from onnxplain.explainers.passes import Passes
    from onnxplain.runtime import Engine

# Runs that are timed, and the time after which no further one is started.
_RUNS, _SECONDS = 5, 1.0


@dataclass(frozen=True)
class PassTimes:
    """Seconds per run on one image: medians. None where the file has no gradients or no tail."""

    forward: float
    gradient: float | None = None
    tail: float | None = None

    def estimate(self, passes: Passes) -> float | None:
        """Seconds for so many runs; None if one of them is not known."""
        total = 0.0
        for count, seconds in (
            (passes.forward, self.forward),
            (passes.gradient, self.gradient),
            (passes.tail, self.tail),
        ):
            if count and seconds is None:
                return None
            total += count * (seconds or 0.0)
        return total


def time_passes(engine: Engine) -> PassTimes:
    """Run the model a few times on an image of noise. Copies of an image that run together can take less each."""
    spec = engine.spec
    channels = spec.input.preprocessing.channel_count
    noise = np.random.default_rng(0).integers(0, 256, (1, channels, *spec.input.size_hw))
    pixels = (noise / 128 - 1).astype(np.float32)
    detector = engine.detector
    forward = _time(lambda: engine.run(pixels, engine.head_outputs) if detector is None else detector.run(pixels))
    if not spec.layers:
        return PassTimes(forward)
    layer = spec.layers[-1]
    (features,) = engine.run(pixels, [layer.features])
    target = np.zeros(1, np.int64)
    gradient = _time(lambda: engine.run(pixels, [layer.features, layer.gradients], target, layer.name))
    tail = None
    if spec.tail is not None:
        try:
            opened = engine.tail
        except OnnxplainError:
            return PassTimes(forward, gradient)
        copies = np.repeat(features.astype(np.float32), opened.batch_size, axis=0)
        tail = _time(lambda: opened.outputs(copies)) / len(copies)
    return PassTimes(forward, gradient, tail)


def _time(run: Callable[[], object]) -> float:
    """Seconds: the median of a few runs behind one that warms up."""
    run()
    found: list[float] = []
    started = time.perf_counter()
    while not found or (len(found) < _RUNS and time.perf_counter() - started < _SECONDS):
        before = time.perf_counter()
        run()
        found.append(time.perf_counter() - before)
    return median(found)
