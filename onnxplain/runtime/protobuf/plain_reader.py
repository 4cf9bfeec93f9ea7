"""A file as the contract's `PlainModel`: what is needed to tell what it would allocate. Weights are skipped.

The numbers of the fields are those of onnx.proto (https://github.com/onnx/onnx/blob/main/onnx/onnx.proto).
"""

from __future__ import annotations

import struct
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from onnxplain.contract.allocations import PlainFunction, PlainGraph, PlainModel, PlainNode
from onnxplain.contract.allocations.check import DEEPEST
from onnxplain.contract.allocations.graph import KnownShape, Numbers
from onnxplain.contract.heads.twins import STANDARD_DOMAINS
from onnxplain.runtime.protobuf.end_reader import read_value
from onnxplain.runtime.protobuf.node_fields import read_node_fields
from onnxplain.runtime.protobuf.tensors import StoredTensor, read_dims, read_tensor
from onnxplain.runtime.protobuf.wire import WireError, WireField, read_fields, read_integers

_MODEL_GRAPH, _MODEL_FUNCTION = 7, 25
_GRAPH_NODE, _GRAPH_INITIALIZER, _GRAPH_INPUT, _GRAPH_OUTPUT = 1, 5, 11, 12
_FUNCTION_NAME, _FUNCTION_INPUT, _FUNCTION_OUTPUT, _FUNCTION_NODE, _FUNCTION_DOMAIN = 1, 4, 5, 7, 10
_FUNCTION_DEFAULT = 11
_NAME, _FLOAT, _INT, _TENSOR, _GRAPH, _FLOATS, _INTS, _GRAPHS, _REFERS_TO = 1, 2, 3, 5, 6, 7, 8, 11, 21
# Attributes of a Constant that hold its value; "value" is a tensor.
_CONSTANT_NUMBERS = ("value_float", "value_floats", "value_int", "value_ints")


def read_plain_model(model: memoryview) -> PlainModel:
    """The main graph and the functions of a serialised model. Raises WireError for bytes that are none."""
    fields = list(read_fields(model))
    graphs = [field.content for field in fields if field.number == _MODEL_GRAPH]
    if len(graphs) != 1:
        raise WireError(f"found {len(graphs)} graphs, expected one")
    functions = dict(_function(field.content) for field in fields if field.number == _MODEL_FUNCTION)
    return PlainModel(_graph(graphs[0], 0), functions)


def _graph(message: memoryview, depth: int) -> PlainGraph:
    if depth > DEEPEST:
        raise WireError(f"found subgraphs {DEEPEST} deep, expected less")
    nodes, outputs, constants = [], [], {}
    shapes: dict[str, KnownShape] = {}
    inputs: dict[str, KnownShape | None] = {}
    for field in read_fields(message):
        if field.number == _GRAPH_NODE:
            nodes.append(_node(field.content, depth))
        elif field.number == _GRAPH_INITIALIZER:
            stored = _stored(field.content)
            shapes[stored.name] = read_dims(field.content)
            if stored.values is not None:
                constants[stored.name] = stored.values
        elif field.number == _GRAPH_INPUT:
            value = read_value(field.content)
            known = value.dims
            inputs[value.name] = (
                None if known is None else tuple(size if isinstance(size, int) else None for size in known)
            )
        elif field.number == _GRAPH_OUTPUT:
            outputs.append(read_value(field.content).name)
    declared = {name: shape for name, shape in inputs.items() if shape is not None}
    return PlainGraph(tuple(inputs), tuple(outputs), tuple(nodes), constants, {**declared, **shapes})


def _function(message: memoryview) -> tuple[tuple[str, str], PlainFunction]:
    fields = list(read_fields(message))

    def texts(number: int) -> tuple[str, ...]:
        return tuple(field.text for field in fields if field.number == number)

    nodes = tuple(_node(field.content, 0) for field in fields if field.number == _FUNCTION_NODE)
    defaults = [_attribute(field.content, 0) for field in fields if field.number == _FUNCTION_DEFAULT]
    return (_standard("".join(texts(_FUNCTION_DOMAIN))), "".join(texts(_FUNCTION_NAME))), PlainFunction(
        PlainGraph(texts(_FUNCTION_INPUT), texts(_FUNCTION_OUTPUT), nodes),
        {each.name: each.numbers for each in defaults if each.numbers is not None},
    )


def _node(message: memoryview, depth: int) -> PlainNode:
    domain, operator, inputs, outputs, messages = read_node_fields(message)
    attributes = [_attribute(each, depth) for each in messages]
    return PlainNode(
        _standard(domain),
        operator,
        inputs,
        outputs,
        {each.name: each.numbers for each in attributes if each.numbers is not None},
        next((each.constant for each in attributes if each.constant is not None), None),
        {each.name: each.refers_to for each in attributes if each.refers_to},
        tuple(body for each in attributes for body in each.bodies),
    )


@dataclass(frozen=True)
class _PlainAttribute:
    name: str
    numbers: Numbers | None
    constant: npt.NDArray[np.generic] | None
    refers_to: str
    bodies: tuple[PlainGraph, ...]


def _attribute(message: memoryview, depth: int) -> _PlainAttribute:
    name, refers_to, constant, bodies = "", "", None, []
    numbers: Numbers | None = None
    integers: list[int] = []
    floats: list[float] = []
    for field in read_fields(message):
        if field.number == _NAME:
            name = field.text
        elif field.number == _INT:
            (numbers,) = read_integers(field)
        elif field.number == _FLOAT:
            numbers = _floats(field)[0]
        elif field.number == _INTS:
            integers.extend(read_integers(field))
        elif field.number == _FLOATS:
            floats.extend(_floats(field))
        elif field.number == _TENSOR:
            constant = _stored(field.content).values
        elif field.number in (_GRAPH, _GRAPHS):
            bodies.append(_graph(field.content, depth + 1))
        elif field.number == _REFERS_TO:
            refers_to = field.text
    if integers or floats:
        numbers = tuple(integers) or tuple(floats)
    if name in _CONSTANT_NUMBERS and numbers is not None:
        constant = np.asarray(numbers)
    return _PlainAttribute(name, numbers, constant, refers_to, tuple(bodies))


def _stored(message: memoryview) -> StoredTensor:
    """The tensor; one whose values contradict its shape is ONNX Runtime's to refuse."""
    try:
        return read_tensor(message)
    except WireError:
        return StoredTensor("", None)


def _floats(field: WireField) -> list[float]:
    """The numbers of a float field, packed or single."""
    packed = field.value.to_bytes(4, "little") if isinstance(field.value, int) else bytes(field.value)
    if len(packed) % 4:
        raise WireError(f"found {len(packed)} bytes of floats, expected a multiple of 4")
    return list(struct.unpack(f"<{len(packed) // 4}f", packed))


def _standard(domain: str) -> str:
    return "" if domain in STANDARD_DOMAINS else domain
