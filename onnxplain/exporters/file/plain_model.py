"""A model as the contract's `PlainModel`: what is needed to tell what it would allocate."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import onnx

from onnxplain.contract.allocations import PlainFunction, PlainGraph, PlainModel, PlainNode
from onnxplain.contract.allocations.graph import MOST_KNOWN, KnownShape, Numbers
from onnxplain.exporters.graph.values import STANDARD

_NUMBERS = (
    onnx.AttributeProto.INT,
    onnx.AttributeProto.FLOAT,
    onnx.AttributeProto.INTS,
    onnx.AttributeProto.FLOATS,
)


def plain_model(proto: onnx.ModelProto) -> PlainModel:
    """The main graph and the local functions."""
    return PlainModel(
        _graph(proto.graph),
        {(_standard(each.domain), each.name): _function(each) for each in proto.functions},
    )


def _graph(graph: onnx.GraphProto) -> PlainGraph:
    constants = {tensor.name: array for tensor in graph.initializer if (array := _small(tensor)) is not None}
    shapes: dict[str, KnownShape] = {
        value.name: tuple(dim.dim_value if dim.dim_value > 0 else None for dim in value.type.tensor_type.shape.dim)
        for value in graph.input
        if value.type.tensor_type.HasField("shape")
    }
    shapes.update({tensor.name: tuple(tensor.dims) for tensor in graph.initializer})
    inputs, outputs = (tuple(value.name for value in values) for values in (graph.input, graph.output))
    return PlainGraph(inputs, outputs, tuple(map(_node, graph.node)), constants, shapes)


def _function(function: onnx.FunctionProto) -> PlainFunction:
    body = PlainGraph(tuple(function.input), tuple(function.output), tuple(map(_node, function.node)))
    return PlainFunction(body, dict(_numbers(function.attribute_proto)))


def _node(node: onnx.NodeProto) -> PlainNode:
    bodies = (body for attribute in node.attribute for body in (*_own_graph(attribute), *attribute.graphs))
    return PlainNode(
        _standard(node.domain),
        node.op_type,
        tuple(node.input),
        tuple(node.output),
        dict(_numbers(node.attribute)),
        _constant(node),
        {attribute.name: attribute.ref_attr_name for attribute in node.attribute if attribute.ref_attr_name},
        tuple(map(_graph, bodies)),
    )


def _own_graph(attribute: onnx.AttributeProto) -> Sequence[onnx.GraphProto]:
    return [attribute.g] if attribute.HasField("g") else []


def _numbers(attributes: Sequence[onnx.AttributeProto]) -> Iterator[tuple[str, Numbers]]:
    for attribute in attributes:
        if attribute.type in _NUMBERS and not attribute.ref_attr_name:
            value: Any = onnx.helper.get_attribute_value(attribute)
            yield attribute.name, value if isinstance(value, int | float) else tuple(value)


def _constant(node: onnx.NodeProto) -> np.ndarray | None:
    for attribute in node.attribute if node.op_type == "Constant" else ():
        if attribute.name == "value":
            return _small(attribute.t)
        if attribute.type in _NUMBERS and not attribute.ref_attr_name:
            return np.asarray(onnx.helper.get_attribute_value(attribute))
    return None


def _small(tensor: onnx.TensorProto) -> np.ndarray | None:
    """The values of a tensor of a few numbers; None for others, and for one that is not valid."""
    if not 0 <= math.prod(tensor.dims) <= MOST_KNOWN:
        return None
    try:
        return onnx.numpy_helper.to_array(tensor)
    except (TypeError, ValueError):
        return None


def _standard(domain: str) -> str:
    return "" if domain in STANDARD else domain
