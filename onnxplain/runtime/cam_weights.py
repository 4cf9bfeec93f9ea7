"""The weights of the class activation map, a constant of the file that one run reads."""

from __future__ import annotations

from typing import TYPE_CHECKING

from onnxplain.errors import UnsupportedError
from onnxplain.runtime.arrays import FloatArray

if TYPE_CHECKING:
    from onnxplain.runtime.engine import Engine


def read_cam_weights(engine: Engine) -> FloatArray:
    """float32 (C, K), read-only. Raises UnsupportedError, with what to do, where the file has none."""
    output, count = engine.spec.outputs.cam_weights, engine.fixed_batch or 1
    if output is None:
        reason = (
            "its head is not global average pooling + linear: use grad-cam"
            if engine.spec.layers
            else "it is not instrumented: run `onnxplain instrument` first"
        )
        raise UnsupportedError(f"{engine.path}: the file holds no class activation map weights, {reason}")
    bound = engine.bind([output])
    bound.bind(engine.spec.input.name, engine.input_buffer(count))
    bound.run(count)
    (output_array,) = bound.fetch()
    # Where the graph has no batch axis, one was added.
    weights: FloatArray = output_array.reshape(output_array.shape[-2:])
    weights.setflags(write=False)
    return weights
