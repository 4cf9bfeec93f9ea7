"""Converting a float16 graph to float32: the same graph without float16 rounding."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import onnx
import onnx.numpy_helper

_NARROW, _WIDE = onnx.TensorProto.FLOAT16, onnx.TensorProto.FLOAT


def widen(model: onnx.ModelProto) -> onnx.ModelProto:
    """A copy of the model with float32 in place of every float16: inputs, weights, casts, outputs."""
    wide = onnx.ModelProto()
    wide.CopyFrom(model)
    for graph in _graphs(wide.graph):
        for tensor in graph.initializer:
            _widen_tensor(tensor)
        for value in (*graph.input, *graph.output, *graph.value_info):
            if value.type.tensor_type.elem_type == _NARROW:
                value.type.tensor_type.elem_type = _WIDE
        for node in graph.node:
            for attribute in node.attribute:
                if attribute.type == onnx.AttributeProto.TENSOR:
                    _widen_tensor(attribute.t)
                elif node.op_type == "Cast" and attribute.name == "to" and attribute.i == _NARROW:
                    attribute.i = _WIDE
    return wide


def _graphs(graph: onnx.GraphProto) -> Iterator[onnx.GraphProto]:
    yield graph
    for node in graph.node:
        for attribute in node.attribute:
            if attribute.type == onnx.AttributeProto.GRAPH:
                yield from _graphs(attribute.g)


def _widen_tensor(tensor: onnx.TensorProto) -> None:
    if tensor.data_type == _NARROW:
        array = onnx.numpy_helper.to_array(tensor).astype(np.float32)
        tensor.CopyFrom(onnx.numpy_helper.from_array(array, tensor.name))
