"""Closing what is open in the image input: channels, height and width become numbers."""

from __future__ import annotations

import math
from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace

import onnx
import onnx.helper
import onnx.numpy_helper

from onnxplain.contract import INTEGER_LIMITS, DeclaredInput, ImageInput, UnreadInput, find_quantization
from onnxplain.errors import ModelError


def declare_inputs(proto: onnx.ModelProto, given: Collection[str] = ()) -> tuple[DeclaredInput, ...]:
    """The inputs without a default as the graph declares them, and those with one that are `given` a value.

    Inputs of integers come with their quantization.
    """
    stored = {tensor.name for tensor in proto.graph.initializer} - set(given)
    return tuple(_declare(proto, value) for value in proto.graph.input if value.name not in stored)


def _declare(proto: onnx.ModelProto, value: onnx.ValueInfoProto) -> DeclaredInput:
    tensor = value.type.tensor_type
    if tensor.elem_type == onnx.TensorProto.UNDEFINED:
        return DeclaredInput(value.name, "unknown", None)
    dims = [dim.dim_value if dim.HasField("dim_value") else dim.dim_param for dim in tensor.shape.dim]
    dtype = onnx.helper.tensor_dtype_to_np_dtype(tensor.elem_type).name
    declared = DeclaredInput.of(value.name, dtype, dims if tensor.HasField("shape") else None)
    if dtype not in INTEGER_LIMITS:
        return declared
    nodes = [_Node(node.op_type, node.input, node.output) for node in proto.graph.node]
    return replace(declared, quantization=find_quantization(declared.name, dtype, nodes, _scalars(proto.graph)))


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


@dataclass(frozen=True)
class _Node:
    """A `NamedNode`."""

    operator: str
    inputs: Sequence[str]
    outputs: Sequence[str]


def _scalars(graph: onnx.GraphProto) -> dict[str, float]:
    """The constants of one element, by name."""
    constants = {tensor.name: tensor for tensor in graph.initializer}
    for node in graph.node:
        for attribute in node.attribute if node.op_type == "Constant" else ():
            if attribute.name == "value":
                constants[node.output[0]] = attribute.t
    small = {name: tensor for name, tensor in constants.items() if math.prod(tensor.dims) == 1}
    numbers = {name: onnx.numpy_helper.to_array(tensor) for name, tensor in small.items()}
    return {name: float(array.item()) for name, array in numbers.items() if array.dtype.kind in "fiu"}
