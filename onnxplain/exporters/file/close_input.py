"""Closing what is open in the image input: channels, height and width become numbers."""

from __future__ import annotations

import onnx
import onnx.helper

from onnxplain.contract import DeclaredInput, StatedShape, UnreadInput, read_image_input
from onnxplain.errors import ModelError


def close_input(proto: onnx.ModelProto, stated: StatedShape) -> tuple[str, ...]:
    """Write the sizes of the image input into the graph, in place, but for the batch; returns what was changed.

    Raises ModelError where the input cannot be read (`read_image_input`). Models with several inputs stay as they are.
    """
    stored = {tensor.name for tensor in proto.graph.initializer}
    inputs = [value for value in proto.graph.input if value.name not in stored]
    if len(inputs) != 1 or inputs[0].type.tensor_type.elem_type == onnx.TensorProto.UNDEFINED:
        return ()
    tensor = inputs[0].type.tensor_type
    dims = [dim.dim_value if dim.HasField("dim_value") else dim.dim_param for dim in tensor.shape.dim]
    dtype = onnx.helper.tensor_dtype_to_np_dtype(tensor.elem_type).name
    image = read_image_input(
        DeclaredInput.of(inputs[0].name, dtype, dims if tensor.HasField("shape") else None), stated
    )
    if isinstance(image, UnreadInput):
        raise ModelError(str(image))
    opened = [
        (dim, size) for dim, size in zip(tensor.shape.dim, image.shape, strict=True) if size and dim.dim_value != size
    ]
    for dim, size in opened:
        dim.dim_value = size
    if not opened:
        return ()
    shape = ", ".join("?" if size is None else str(size) for size in image.shape)
    return (f"input fixed to [{shape}]",)
