"""Choose how to make an engine's masked copies: with numpy on the host, or with an ONNX graph on the model's device."""

from __future__ import annotations

import time
from collections.abc import Callable, Hashable
from typing import Any, TypeAlias
from weakref import WeakSet

import numpy.typing as npt

from onnxplain.explainers.masked.black_box import View
from onnxplain.explainers.masked.mask_chain import CHAINED_DTYPES, MaskChain
from onnxplain.explainers.masked.mask_form import AnyDraw, MaskForm
from onnxplain.explainers.masked.mask_painter import MaskPainter
from onnxplain.explainers.masked.masked_image import MaskedImage, lay_out
from onnxplain.explainers.masked.per_engine import PerEngine
from onnxplain.machine.providers import HOST
from onnxplain.runtime.engine import Engine
from onnxplain.runtime.sessions.binding import DeviceArray, memory_of

# Masks → a batch in the model's layout and type. The next call may overwrite the batch.
CopyMaker: TypeAlias = Callable[[AnyDraw], npt.NDArray[Any] | DeviceArray]

_TRIALS, _TRIAL_COPIES = 3, 4
_HOST_IS_FASTER: PerEngine[Hashable, bool] = PerEngine()
_HOST_ALWAYS: WeakSet[Engine] = WeakSet()


def keep_on_host(engine: Engine) -> None:
    """Time nothing: make the copies of this engine on the host wherever the model runs on the CPU.

    The two ways differ in float32 rounding, so a result that must be the same in every process needs one of them.
    """
    _HOST_ALWAYS.add(engine)


def choose_maker(engine: Engine, view: View, form: MaskForm[AnyDraw]) -> CopyMaker[AnyDraw]:
    """The faster way: the graph on a GPU; on the CPU both are timed once per engine.

    Both make the same copies, up to float32 rounding. Types without a graph (float64, int8) are made on the host, and
    inpainted copies too.
    """
    image = lay_out(view, engine.input_layout, engine.input_dtype, engine.spec.input.quantization)
    if image.dtype.name not in CHAINED_DTYPES or image.inpainted:
        return make_on_host(engine, image, form)
    if memory_of(engine.providers) != HOST:
        return make_on_device(engine, image, form)
    if engine in _HOST_ALWAYS:
        return make_on_host(engine, image, form)

    def host_is_faster() -> bool:
        makers = make_on_host(engine, image, form), make_on_device(engine, image, form)
        return fastest(makers, form.trial(_TRIAL_COPIES)) == 0

    if _HOST_IS_FASTER.get(engine, form.timing_key, host_is_faster):
        return make_on_host(engine, image, form)
    return make_on_device(engine, image, form)


def make_on_host(engine: Engine, image: MaskedImage, form: MaskForm[AnyDraw]) -> CopyMaker[AnyDraw]:
    """Make batches with numpy in one buffer that grows to the largest batch."""
    painter = MaskPainter(image, form)
    buffer = engine.input_buffer(0)

    def make(draw: AnyDraw) -> npt.NDArray[Any]:
        nonlocal buffer
        if len(buffer) < len(draw):
            buffer = engine.input_buffer(len(draw))
        copies = buffer[: len(draw)]
        painter.paint(draw, copies)
        return copies

    return make


def make_on_device(engine: Engine, image: MaskedImage, form: MaskForm[AnyDraw]) -> CopyMaker[AnyDraw]:
    """Make batches with a graph in the memory in which the model computes."""
    chain = MaskChain(engine, image, form)
    shape = engine.input_buffer(0).shape[1:]
    return lambda draw: chain.make(draw).reshaped((len(draw), *shape))


def fastest(makers: tuple[CopyMaker[AnyDraw], ...], draw: AnyDraw) -> int:
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
