"""Read the class activation map weights, a constant output of the file, with one run."""

from __future__ import annotations

from typing import TYPE_CHECKING

from onnxplain.errors import UnsupportedError
from onnxplain.runtime.arrays import FloatArray

if TYPE_CHECKING:
    from onnxplain.runtime.engine import Engine


def read_cam_weights(engine: Engine) -> FloatArray:
    """The weights, float32 (C, K), read-only. Raises UnsupportedError, with advice, if the file has none."""
    output, count = engine.spec.outputs.cam_weights, engine.fixed_batch or 1
    if output is None:
        reason = (
            "expected a head of global average pooling + linear: use grad-cam"
            if engine.spec.layers
            else "expected an instrumented file: run `onnxplain instrument` first"
        )
        raise UnsupportedError(f"{engine.source}: found no class activation map weights, {reason}")
    bound = engine.bind([output])
    bound.bind(engine.spec.input.name, engine.input_buffer(count))
    bound.run(count)
    weights: FloatArray = bound.fetch()[0]
    weights.setflags(write=False)
    return weights
