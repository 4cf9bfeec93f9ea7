"""A file whose floats are float64: what its graph computes, without the rounding of float32."""

from __future__ import annotations

import copy

import numpy as np
import onnx
import onnx.numpy_helper
from onnx.reference import ReferenceEvaluator

from tests.exporters.definitions import DEFINITIONS

_SINGLE, _DOUBLE = onnx.TensorProto.FLOAT, onnx.TensorProto.DOUBLE


def in_double(model: onnx.ModelProto) -> ReferenceEvaluator:
    """An evaluator of the graph in float64, its gates and their branches too; ONNX Runtime has no such convolutions."""
    wide = copy.deepcopy(model)
    _widen(wide.graph)
    return ReferenceEvaluator(wide, new_ops=list(DEFINITIONS))


def _widen(graph: onnx.GraphProto) -> None:
    for tensor in graph.initializer:
        _widen_tensor(tensor)
    for value in (*graph.input, *graph.output, *graph.value_info):
        if value.type.tensor_type.elem_type == _SINGLE:
            value.type.tensor_type.elem_type = _DOUBLE
    for node in graph.node:
        for attribute in node.attribute:
            if attribute.type == onnx.AttributeProto.GRAPH:
                _widen(attribute.g)
            elif attribute.type == onnx.AttributeProto.TENSOR:
                _widen_tensor(attribute.t)
            elif (node.op_type, attribute.name, attribute.i) == ("Cast", "to", _SINGLE):
                attribute.i = _DOUBLE


def _widen_tensor(tensor: onnx.TensorProto) -> None:
    if tensor.data_type == _SINGLE:
        array = onnx.numpy_helper.to_array(tensor).astype(np.float64)
        tensor.CopyFrom(onnx.numpy_helper.from_array(array, tensor.name))
