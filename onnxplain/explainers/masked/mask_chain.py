"""Make masked copies on the model's device with a small ONNX graph. Its output is the model's input.

Only what a draw holds of a mask (bits and shift, the values of cells, or two factors) is copied to the device instead
of an image. The graphs in mask_graphs/ are written by tools/mask_graphs.py.
"""

from __future__ import annotations

from pathlib import Path
from typing import Generic

import numpy as np

from onnxplain.explainers.masked.mask_form import AnyDraw, MaskForm
from onnxplain.explainers.masked.masked_image import MaskedImage
from onnxplain.explainers.masked.per_engine import PerEngine
from onnxplain.machine.providers import HOST
from onnxplain.runtime.engine import Engine
from onnxplain.runtime.preprocess import to_model
from onnxplain.runtime.sessions.binding import BoundSession, DeviceArray, memory_of
from onnxplain.runtime.sessions.session import Session, open_session

# The types of copies that have a graph.
CHAINED_DTYPES = ("float32", "float16", "uint8")

_GRAPHS = Path(__file__).parent / "mask_graphs"
_SESSIONS: PerEngine[Path, Session] = PerEngine()


class MaskChain(Generic[AnyDraw]):
    """Makes masked copies of one image in the memory of an engine's model.

    The image and the constants of the masks are copied there once, on construction. Only one thread at a time may use
    an object.
    """

    def __init__(self, engine: Engine, image: MaskedImage, form: MaskForm[AnyDraw]) -> None:
        device = memory_of(engine.providers)
        path = _GRAPHS / f"{form.graph}{image.dtype.name}.onnx"
        self._dtype, self._form = image.dtype, form
        self._bound = BoundSession(
            _open_graph(engine, path, device), path, ["copies"], device, number=engine.device_number
        )
        channels, height, width = image.delta.shape
        # In NCHW a plane is a channel. In NHWC one plane holds all channels side by side, and each value of a mask is
        # used for several numbers of a line. So neither layout needs a transposition.
        planes, repeated = (channels, 1) if image.layout == "nchw" else (1, channels)
        delta, hidden = (
            to_model(np.broadcast_to(part, image.delta.shape)[None], image.layout, np.float32).reshape(
                planes, height, width * repeated
            )
            for part in (image.delta, image.hidden)
        )
        for name, array in {**form.constants(repeated), "delta": delta, "hidden": hidden}.items():
            self._bound.bind(name, array)

    def make(self, draw: AnyDraw) -> DeviceArray:
        """One copy per mask, (n, planes, h, numbers per line), in the model's memory. The next call overwrites them."""
        for name, array in self._form.arrays(draw).items():
            self._bound.bind(name, array)
        self._bound.run(len(draw))
        return self._bound.first_in_place(self._dtype)


def _open_graph(engine: Engine, path: Path, device: str) -> Session:
    # One thread: a second thread pool would compete with the model's.
    providers = [HOST] if device == HOST else [f"{device}:{engine.device_number}", HOST]
    return _SESSIONS.get(engine, path, lambda: open_session(path, providers, threads=1))
