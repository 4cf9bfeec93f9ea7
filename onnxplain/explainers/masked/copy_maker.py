"""Choose how to make an engine's masked copies: with numpy on the host, or with an ONNX graph on the model's device."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

from onnxplain.explainers.masked.black_box import View
from onnxplain.explainers.masked.mask_chain import CHAINED_DTYPES, MaskChain
from onnxplain.explainers.masked.mask_form import AnyDraw, MaskForm
from onnxplain.explainers.masked.mask_painter import MaskPainter
from onnxplain.explainers.masked.masked_image import MaskedImage, lay_out
from onnxplain.machine.providers import HOST
from onnxplain.runtime.engine import Engine
from onnxplain.runtime.sessions.binding import DeviceArray, memory_of

# Masks → a batch in the model's layout and type. The next call may overwrite the batch.
CopyMaker: TypeAlias = Callable[[AnyDraw], npt.NDArray[Any] | DeviceArray]


def choose_maker(engine: Engine, view: View, form: MaskForm[AnyDraw]) -> CopyMaker[AnyDraw]:
    """The graph on a GPU. On the CPU numpy, but for products in float16, which numpy converts slowly.

    Both make the same copies, up to float32 rounding. So the way is never found by timing: a result is the same in
    every process. Types without a graph (float64, int8) are made on the host, and inpainted copies too.
    """
    image = lay_out(view, engine.input_layout, engine.input_dtype, engine.spec.input.quantization)
    if image.dtype.name not in CHAINED_DTYPES or image.inpainted:
        return make_on_host(engine, image, form)
    on_host = memory_of(engine.providers) == HOST
    if on_host and not (form.multiplies and image.dtype == np.float16):
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
