"""Choose how to make an engine's masked copies: with numpy on the host, or with an ONNX graph on the model's device."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any, TypeAlias
from weakref import WeakSet

import numpy as np
import numpy.typing as npt

from onnxplain.explainers.masked.black_box import View
from onnxplain.explainers.masked.mask_chain import CHAINED_DTYPES, MaskChain
from onnxplain.explainers.masked.mask_painter import MaskPainter
from onnxplain.explainers.masked.masked_image import MaskedImage, lay_out
from onnxplain.explainers.masked.masks import MaskDraw, MaskGeometry
from onnxplain.explainers.masked.per_engine import PerEngine
from onnxplain.machine.providers import HOST
from onnxplain.runtime.engine import Engine
from onnxplain.runtime.sessions.binding import DeviceArray, memory_of

# Masks → a batch in the model's layout and type. The next call may overwrite the batch.
CopyMaker: TypeAlias = Callable[[MaskDraw], npt.NDArray[Any] | DeviceArray]

_TRIALS, _TRIAL_COPIES = 3, 4
_HOST_IS_FASTER: PerEngine[MaskGeometry, bool] = PerEngine()
_HOST_ALWAYS: WeakSet[Engine] = WeakSet()


def keep_on_host(engine: Engine) -> None:
    """Time nothing: make the copies of this engine on the host wherever the model runs on the CPU.

    The two ways differ in float32 rounding, so a result that must be the same in every process needs one of them.
    """
    _HOST_ALWAYS.add(engine)


def choose_maker(engine: Engine, view: View, geometry: MaskGeometry) -> CopyMaker:
    """The faster way: the graph on a GPU; on the CPU both are timed once per engine.

    Both make the same copies, up to float32 rounding. Types without a graph (float64, int8) are made on the host.
    """
    image = lay_out(view, engine.input_layout, engine.input_dtype, engine.spec.input.quantization)
    if image.dtype.name not in CHAINED_DTYPES:
        return make_on_host(engine, image, geometry)
    if memory_of(engine.providers) != HOST:
        return make_on_device(engine, image, geometry)
    if engine in _HOST_ALWAYS:
        return make_on_host(engine, image, geometry)

    def host_is_faster() -> bool:
        grids = np.ones((_TRIAL_COPIES, geometry.grid, geometry.grid), np.bool_)
        draw = MaskDraw(grids, np.zeros((_TRIAL_COPIES, 2), np.int64))
        makers = make_on_host(engine, image, geometry), make_on_device(engine, image, geometry)
        return fastest(makers, draw) == 0

    if _HOST_IS_FASTER.get(engine, geometry, host_is_faster):
        return make_on_host(engine, image, geometry)
    return make_on_device(engine, image, geometry)


def make_on_host(engine: Engine, image: MaskedImage, geometry: MaskGeometry) -> CopyMaker:
    """Make batches with numpy in one buffer that grows to the largest batch."""
    painter = MaskPainter(image, geometry)
    buffer = engine.input_buffer(0)

    def make(draw: MaskDraw) -> npt.NDArray[Any]:
        nonlocal buffer
        if len(buffer) < len(draw):
            buffer = engine.input_buffer(len(draw))
        copies = buffer[: len(draw)]
        painter.paint(draw, copies)
        return copies

    return make


def make_on_device(engine: Engine, image: MaskedImage, geometry: MaskGeometry) -> CopyMaker:
    """Make batches with a graph in the memory in which the model computes."""
    chain = MaskChain(engine, image, geometry)
    shape = engine.input_buffer(0).shape[1:]
    return lambda draw: chain.make(draw).reshaped((len(draw), *shape))


def fastest(makers: tuple[CopyMaker, ...], draw: MaskDraw) -> int:
    """The index of the fastest maker: best of three trials each, after one warm-up trial."""
    best = []
    for make in makers:
        make(draw)
        seconds = []
        for _ in range(_TRIALS):
            start = time.perf_counter()
            make(draw)
            seconds.append(time.perf_counter() - start)
        best.append(min(seconds))
    return best.index(min(best))
