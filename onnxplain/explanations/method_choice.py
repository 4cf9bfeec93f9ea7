"""Which methods work with a file, what they cost for one image on this machine, and when to use them."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from statistics import median
from typing import TYPE_CHECKING, Any

from onnxplain.contract import INPUT_LAYER
from onnxplain.errors import OnnxplainError, UnsupportedError

if TYPE_CHECKING:
    from onnxplain.contract import LayerSpec
    from onnxplain.explainers.needs import Need
    from onnxplain.explainers.passes import Passes
    from onnxplain.runtime import Engine

# Runs that are timed, and the time after which no further one is started.
_RUNS, _SECONDS = 5, 1.0


@dataclass(frozen=True)
class PassTimes:
    """Seconds per run on one image: medians. None where the file has no gradients or no tail.

    `gradient` is at the last map, `input_gradient` at the pixels, `attention_gradient` at all matrices of attention,
    which `attention` gives alone.
    """

    forward: float
    gradient: float | None = None
    tail: float | None = None
    input_gradient: float | None = None
    attention: float | None = None
    attention_gradient: float | None = None

    def of(self, need: Need) -> PassTimes:
        """The times of a method with this need: its forward runs and gradients may be others than the last map's."""
        from onnxplain.explainers.needs import INPUT_GRADIENT, OF_ATTENTION

        if need is INPUT_GRADIENT:
            return replace(self, gradient=self.input_gradient)
        if need in OF_ATTENTION and self.attention is not None:
            return replace(self, forward=self.attention, gradient=self.attention_gradient)
        return self

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
    import numpy as np

    spec = engine.spec
    channels = spec.input.preprocessing.channel_count
    noise = np.random.default_rng(0).integers(0, 256, (1, channels, *spec.input.size_hw))
    pixels = (noise / 128 - 1).astype(np.float32)
    detector = engine.detector
    forward = _time(lambda: engine.run(pixels, engine.head_outputs) if detector is None else detector.run(pixels))
    if not spec.layers:
        return PassTimes(forward)
    target = np.zeros(1, np.int64)

    def time_gradient(layer: LayerSpec) -> float:
        return _time(lambda: engine.run(pixels, [layer.features, layer.gradients], target, layer.name))

    def time_outputs(names: Sequence[str]) -> float:
        return _time(lambda: engine.run(pixels, names, target))

    layer = spec.layers[-1]
    matrices = () if spec.attention is None else spec.attention.layers
    at_pixels = next((each for each in spec.layers if each.name == INPUT_LAYER), None)
    times = PassTimes(
        forward,
        time_gradient(layer),
        input_gradient=None if at_pixels is None else time_gradient(at_pixels),
        attention=None if not matrices else time_outputs([each.features for each in matrices]),
        attention_gradient=None
        if not matrices
        else time_outputs([name for each in matrices for name in (each.features, each.gradients)]),
    )
    if spec.tail is None:
        return times
    try:
        opened = engine.tail
    except OnnxplainError:
        return times
    (features,) = engine.run(pixels, [layer.features])
    copies = np.repeat(features.astype(np.float32), opened.batch_size, axis=0)
    return replace(times, tail=_time(lambda: opened.outputs(copies)) / len(copies))


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


@dataclass(frozen=True, eq=False)
class MethodChoice:
    """A method for one file. `use`: when to use it. `obstacle`: why it does not work with the file and the options.

    `passes`: the runs of the model for one target of one image; `seconds`: their time, measured on this machine. It
    leaves out what the method computes itself. None where they are not known.
    """

    name: str
    use: str
    passes: Passes | None = None
    seconds: float | None = None
    obstacle: OnnxplainError | None = None

    @property
    def as_json(self) -> dict[str, Any]:
        """For `onnxplain methods --for MODEL --json`."""
        return {
            "name": self.name,
            "works": self.obstacle is None,
            "evaluations": None if self.passes is None else self.passes.evaluations,
            "seconds": self.seconds,
            "use": self.use,
            "obstacle": None if self.obstacle is None else str(self.obstacle),
        }


def list_choices(engine: Engine, times: PassTimes, options: Mapping[str, Any]) -> list[MethodChoice]:
    """One per method, in the order of the table. Each method gets those of the options that it takes."""
    from onnxplain.explainers import METHODS
    from onnxplain.explainers.registry import lack_of

    choices = []
    for name, method in METHODS.items():
        taken = {option: value for option, value in options.items() if option in method.options}
        try:
            if not method.needs.met(engine.spec):
                lack = lack_of(method.explainer, engine.spec)
                raise UnsupportedError(f"needs {lack.what}, but {lack.otherwise}")
            passes = method.build(engine, **taken).passes
        except OnnxplainError as error:
            choices.append(MethodChoice(name, method.use, obstacle=error))
            continue
        known = times.of(method.needs)
        choices.append(MethodChoice(name, method.use, passes, None if passes is None else known.estimate(passes)))
    return choices
