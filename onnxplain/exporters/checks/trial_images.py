"""Random images for the checks, in the form that the model takes, and the other inputs of the explainable graph."""

from __future__ import annotations

import numpy as np
import onnx
import onnx.helper

from onnxplain.contract import (
    ATTENTION_INPUT,
    EXPLAIN_INPUT,
    PREDICTED,
    TARGET_INPUT,
    InputSpec,
    ModelSpec,
    batched,
    is_batched,
)
from onnxplain.exporters.checks.scalars import CheckedScalar, control_feeds


def stated_batch(model: onnx.ModelProto, spec: InputSpec) -> int | None:
    """The number of images that the input takes; None where it takes any number."""
    if not is_batched(spec.layout):
        return 1
    (value,) = [value for value in model.graph.input if value.name == spec.name]
    return int(value.type.tensor_type.shape.dim[0].dim_value) or None


def image_batch(original: onnx.ModelProto, spec: InputSpec, seed: int, count: int | None = None) -> np.ndarray:
    """Random smooth images as the model takes them: its layout, size, type and preprocessing.

    `count`: how many; None for as many as the file takes, 1 where it takes any number. Without a batch axis, there is
    one image.
    """
    count = count or stated_batch(original, spec) or 1
    rng = np.random.default_rng(seed)
    height, width = spec.size_hw
    preprocessing = spec.preprocessing
    shape = (count, preprocessing.channel_count)
    coarse = rng.uniform(0, 255, (*shape, -(-height // 8), -(-width // 8)))
    pixels = np.repeat(np.repeat(coarse, 8, axis=2), 8, axis=3)[:, :, :height, :width]
    pixels = np.clip(pixels + rng.normal(0, 20, pixels.shape), 0, 255)
    mean, std = (np.reshape(values, (1, -1, 1, 1)) for values in (preprocessing.mean, preprocessing.std))
    batch = (np.round(pixels) * preprocessing.scale - mean) / std
    if batched(spec.layout) == "nhwc":
        batch = batch.transpose(0, 2, 3, 1)
    if not is_batched(spec.layout):
        batch = batch[0]
    dtype = _input_dtype(original, spec)
    if dtype.kind in "iu":
        info, quantization = np.iinfo(dtype), spec.quantization
        scale, zero_point = (1, 0) if quantization is None else (quantization.scale, quantization.zero_point)
        batch = np.clip(np.round(batch / scale) + zero_point, info.min, info.max)
    return np.ascontiguousarray(batch, dtype=dtype)


def _input_dtype(original: onnx.ModelProto, spec: InputSpec) -> np.dtype:
    (elem,) = [v.type.tensor_type.elem_type for v in original.graph.input if v.name == spec.name]
    return np.dtype(onnx.helper.tensor_dtype_to_np_dtype(elem))


def plain_feeds(spec: ModelSpec, batch: np.ndarray) -> dict[str, np.ndarray]:
    """The inputs that the original has and needs: images, and their size where the model asks for it."""
    feeds = {spec.input.name: batch}
    rows = len(batch) if is_batched(spec.input.layout) else 1
    for extra in spec.extra_inputs:
        if extra.fill != "constant":
            size = spec.input.size_hw if extra.fill == "image_size_hw" else spec.input.size_hw[::-1]
            feeds[extra.name] = np.tile(np.array(size, extra.dtype), (rows, 1))
    return feeds


def feeds_of(
    spec: ModelSpec, batch: np.ndarray, target: int | None = None, *, explain: bool, scalar: CheckedScalar | None = None
) -> dict[str, np.ndarray]:
    """All inputs of the explainable graph, including those that may have default values.

    `target`: None for the default head's best entry; of a box, which has none, its first.
    """
    if target is None:
        target = 0 if spec.heads and spec.head.kind == "box" else PREDICTED
    feeds = {**plain_feeds(spec, batch), TARGET_INPUT: np.array([target], np.int64)}
    feeds |= control_feeds(spec.heads, scalar)
    asked = [EXPLAIN_INPUT, *([] if spec.attention is None else [ATTENTION_INPUT])] if spec.gated else []
    return {**feeds, **{name: np.array([explain]) for name in asked}}
