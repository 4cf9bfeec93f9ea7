"""Closing what is open in the image input: channels, height and width become numbers."""

from __future__ import annotations

from collections.abc import Collection

import onnx
import onnx.helper

from onnxplain.contract import DeclaredInput, ImageInput, UnreadInput
from onnxplain.errors import ModelError


def declare_inputs(proto: onnx.ModelProto, given: Collection[str] = ()) -> tuple[DeclaredInput, ...]:
    """The inputs without a default as the graph declares them, and those with one that are `given` a value."""
    stored = {tensor.name for tensor in proto.graph.initializer} - set(given)
    return tuple(_declare(value) for value in proto.graph.input if value.name not in stored)


def _declare(value: onnx.ValueInfoProto) -> DeclaredInput:
    tensor = value.type.tensor_type
    if tensor.elem_type == onnx.TensorProto.UNDEFINED:
        return DeclaredInput(value.name, "unknown", None)
    dims = [dim.dim_value if dim.HasField("dim_value") else dim.dim_param for dim in tensor.shape.dim]
    dtype = onnx.helper.tensor_dtype_to_np_dtype(tensor.elem_type).name
    return DeclaredInput.of(value.name, dtype, dims if tensor.HasField("shape") else None)


def close_input(proto: onnx.ModelProto, image: ImageInput | UnreadInput) -> tuple[str, ...]:
    """Write the sizes of the image input into the graph, in place, but for the batch; returns what was changed.

    Raises ModelError if the input could not be read.
    """
    if isinstance(image, UnreadInput):
        raise ModelError(str(image))
    (value,) = [value for value in proto.graph.input if value.name == image.name]
    opened = [
        (dim, size)
        for dim, size in zip(value.type.tensor_type.shape.dim, image.shape, strict=True)
        if size and dim.dim_value != size
    ]
    for dim, size in opened:
        dim.dim_value = size
    if not opened:
        return ()
    shape = ", ".join("?" if size is None else str(size) for size in image.shape)
    return (f"input fixed to [{shape}]",)
