"""Read the class activation map weights, a constant output of the file, with one run."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from onnxplain.contract import ModelSpec
from onnxplain.errors import ModelError, UnsupportedError
from onnxplain.runtime.arrays import FloatArray
from onnxplain.runtime.feed import Feed, Opened
from onnxplain.runtime.sessions.session import Session, run_session
from onnxplain.runtime.target import PREDICTED_CLASS, resolve_layer


def read_cam_weights(session: Session, path: Path, spec: ModelSpec, feed: Feed, count: int) -> FloatArray:
    """The weights, float32 (C, K), read-only, from a run on `count` images of zeros with the gate of their layer open.

    Files of version 1 give them with any gates. Raises UnsupportedError, with advice, if the file has none.
    """
    output, name = spec.outputs.cam_weights, spec.outputs.cam_layer
    if output is None:
        reason = (
            "expected a head of global average pooling + linear: use grad-cam"
            if spec.layers
            else "expected an instrumented file: run `onnxplain instrument` first"
        )
        raise UnsupportedError(f"{path}: found no class activation map weights, {reason}")
    zeros = np.zeros((count, spec.input.preprocessing.channel_count, *spec.input.size_hw), np.float32)
    targets = np.full(count, PREDICTED_CLASS, np.int64)
    layer = None if name is None else resolve_layer(spec, name)
    inputs = feed.arrays(zeros, targets, Opened(() if layer is None else (layer,)))
    weights: FloatArray = run_session(session, path, [output], inputs)[0]
    columns = weights.shape[-1:] if layer is None else (layer.channels,)
    if weights.shape != (spec.classes, *columns) or weights.dtype.kind != "f":
        raise ModelError(
            f"{path}: output {output}: found {weights.dtype} {weights.shape}, expected one row of weights per class as "
            "in the metadata: instrument the original file again"
        )
    weights.setflags(write=False)
    return weights
