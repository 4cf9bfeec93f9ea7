"""The graph of a file as its end is told from: operators, attributes, small constants. Weights are skipped.

The numbers of the fields are those of onnx.proto (https://github.com/onnx/onnx/blob/main/onnx/onnx.proto).
"""

from __future__ import annotations

import struct
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property

import numpy as np
import numpy.typing as npt

from onnxplain.contract import EndNode, EndValue
from onnxplain.contract.heads.twins import STANDARD_DOMAINS, standard_operator
from onnxplain.runtime.protobuf.node_fields import read_node_fields
from onnxplain.runtime.protobuf.tensors import read_tensor
from onnxplain.runtime.protobuf.wire import WireError, WireField, read_fields, read_integers

Attribute = int | float | Sequence[int]

_MODEL_GRAPH, _MODEL_OPSET, _MODEL_FUNCTION = 7, 8, 25
_OPSET_DOMAIN, _OPSET_VERSION = 1, 2
_GRAPH_NODE, _GRAPH_INITIALIZER, _GRAPH_VALUE, _GRAPH_SPARSE = 1, 5, 13, 15
_FUNCTION_NAME, _FUNCTION_INPUT, _FUNCTION_OUTPUT, _FUNCTION_NODE, _FUNCTION_DOMAIN = 1, 4, 5, 7, 10
_FUNCTION_DEFAULT = 11
_NAME, _FLOAT, _INT, _STRING, _TENSOR, _INTS, _REFERS_TO = 1, 2, 3, 4, 5, 8, 21
_VALUE_NAME, _VALUE_TYPE, _TYPE_TENSOR, _TENSOR_SHAPE, _SHAPE_DIM, _DIM_NUMBER, _DIM_SYMBOL = 1, 2, 1, 2, 1, 1, 2
_SPARSE_VALUES = 1
# Attributes of a Constant that hold its value; "value" is a tensor.
_CONSTANT_NUMBERS: Mapping[str, type[np.generic]] = {
    "value_float": np.float32,
    "value_int": np.int64,
    "value_ints": np.int64,
}
# A function that calls functions that call functions … may go so deep.
_DEEPEST = 64


@dataclass(frozen=True)
class FileGraph:
    """The main graph of a file, its local functions written out.

    `own`: the names of the values that it computes itself, not inside a function. `values`: what the file declares of
    inner values. `constants`: small ones by name; `stored`: the names of all.
    `opset`: the version of the standard operators.
    """

    nodes: tuple[EndNode, ...]
    own: frozenset[str]
    values: Mapping[str, EndValue]
    constants: Mapping[str, npt.NDArray[np.generic]]
    stored: frozenset[str]
    opset: int


@dataclass(frozen=True)
class _Node:
    """A node as the file has it. `refers`: attributes that take the value of an attribute of the function's call."""

    domain: str
    operator: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    attributes: Mapping[str, Attribute]
    words: Mapping[str, str]
    constant: npt.NDArray[np.generic] | None = None
    refers: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class _Function:
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    nodes: tuple[_Node, ...]
    defaults: Mapping[str, Attribute]


def read_file_graph(model: memoryview) -> FileGraph:
    """The graph of a serialised model. Raises WireError for bytes that are none."""
    fields = list(read_fields(model))
    graphs = [each for each in fields if each.number == _MODEL_GRAPH]
    if len(graphs) != 1:
        raise WireError(f"found {len(graphs)} graphs, expected one")
    functions = dict(_function(each.content) for each in fields if each.number == _MODEL_FUNCTION)
    nodes, tensors, values = [], [], {}
    for each in read_fields(graphs[0].content):
        if each.number == _GRAPH_NODE:
            nodes.append(_node(each.content))
        elif each.number == _GRAPH_INITIALIZER:
            tensors.append(read_tensor(each.content))
        elif each.number == _GRAPH_SPARSE:
            stored_values = next((f for f in read_fields(each.content) if f.number == _SPARSE_VALUES), None)
            tensors.extend([] if stored_values is None else [read_tensor(stored_values.content)])
        elif each.number == _GRAPH_VALUE:
            value = read_value(each.content)
            values[value.name] = value
    written = list(_written_out(nodes, functions, "", 0))
    constants = {tensor.name: tensor.values for tensor in tensors if tensor.values is not None}
    stored = {tensor.name for tensor in tensors}
    for node in written:
        if node.operator == "Constant" and node.domain in STANDARD_DOMAINS and node.outputs:
            stored.add(node.outputs[0])
            if node.constant is not None:
                constants[node.outputs[0]] = node.constant
    ends = tuple(end for node in written for end in _end_nodes(node))
    own = frozenset(name for node in nodes for name in node.outputs if name)
    return FileGraph(ends, own, values, constants, frozenset(stored), _opset(fields))


def _opset(fields: Sequence[WireField]) -> int:
    """The version of the standard operators, 0 if the file does not say it."""
    for entry in (each.content for each in fields if each.number == _MODEL_OPSET):
        parts = {each.number: each for each in read_fields(entry)}
        domain = parts[_OPSET_DOMAIN].text if _OPSET_DOMAIN in parts else ""
        if domain in STANDARD_DOMAINS and _OPSET_VERSION in parts:
            return parts[_OPSET_VERSION].integer
    return 0


def _end_nodes(node: _Node) -> Iterator[EndNode]:
    """The node as standard operators; the activation of a fused product as a node of its own."""
    operator = standard_operator(node.domain, node.operator)
    activation = node.words.get("activation", "") if node.operator.startswith("Fused") else ""
    if not activation or not node.outputs:
        yield EndNode(operator, node.inputs, node.outputs, node.attributes)
        return
    inner = f"{node.outputs[0]}/before {activation}"
    yield EndNode(operator, node.inputs, (inner, *node.outputs[1:]), node.attributes)
    yield EndNode(activation, (inner,), node.outputs[:1])


def _written_out(
    nodes: Sequence[_Node], functions: Mapping[tuple[str, str], _Function], prefix: str, depth: int
) -> Iterator[_Node]:
    """The nodes, the bodies of local functions in place of their calls."""
    if depth > _DEEPEST:
        raise WireError("found functions that call each other without end, expected functions that end")
    for position, node in enumerate(nodes):
        function = functions.get((node.domain, node.operator))
        if function is None:
            yield node
            continue
        inside = f"{prefix}{position}/"
        body = [_called(each, node, function, inside) for each in function.nodes]
        yield from _written_out(body, functions, inside, depth + 1)


def _called(inner: _Node, call: _Node, function: _Function, prefix: str) -> _Node:
    """A node of a function's body, with the names and attributes of a call."""
    names = dict(zip(function.inputs, [*call.inputs, *[""] * len(function.inputs)], strict=False))
    names.update(zip(function.outputs, call.outputs, strict=False))
    given = {**function.defaults, **call.attributes}
    taken = {name: given[source] for name, source in inner.refers.items() if source in given}
    return replace(
        inner,
        inputs=tuple(_renamed(name, names, prefix) for name in inner.inputs),
        outputs=tuple(_renamed(name, names, prefix) for name in inner.outputs),
        attributes={**inner.attributes, **taken},
    )


def _renamed(name: str, names: Mapping[str, str], prefix: str) -> str:
    return names.get(name, f"{prefix}{name}" if name else "")


def _function(message: memoryview) -> tuple[tuple[str, str], _Function]:
    fields = list(read_fields(message))
    texts = {number: tuple(each.text for each in fields if each.number == number) for number in _FUNCTION_TEXTS}
    defaults = [_attribute(each.content) for each in fields if each.number == _FUNCTION_DEFAULT]
    return ("".join(texts[_FUNCTION_DOMAIN]), "".join(texts[_FUNCTION_NAME])), _Function(
        texts[_FUNCTION_INPUT],
        texts[_FUNCTION_OUTPUT],
        tuple(_node(each.content, inside=True) for each in fields if each.number == _FUNCTION_NODE),
        {each.name: each.value for each in defaults if each.value is not None},
    )


_FUNCTION_TEXTS = (_FUNCTION_NAME, _FUNCTION_INPUT, _FUNCTION_OUTPUT, _FUNCTION_DOMAIN)


class _LaterAttributes(Mapping[str, Attribute]):
    """The attributes of a node, read when one is asked for: those of most nodes are not."""

    def __init__(self, messages: Sequence[memoryview]) -> None:
        self._messages = messages

    @cached_property
    def _read(self) -> Mapping[str, Attribute]:
        attributes = [_attribute(message) for message in self._messages]
        return {each.name: each.value for each in attributes if each.value is not None}

    def __getitem__(self, name: str) -> Attribute:
        return self._read[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._read)

    def __len__(self) -> int:
        return len(self._read)


def _node(message: memoryview, *, inside: bool = False) -> _Node:
    """`inside`: in the body of a function, where an attribute may be that of the call."""
    domain, operator, inputs, outputs, messages = read_node_fields(message)
    if domain in STANDARD_DOMAINS and operator != "Constant" and not inside:
        return _Node(domain, operator, inputs, outputs, _LaterAttributes(messages), {})
    attributes = [_attribute(message) for message in messages]
    return _Node(
        domain,
        operator,
        inputs,
        outputs,
        {each.name: each.value for each in attributes if each.value is not None},
        {each.name: each.word for each in attributes if each.word is not None},
        next((each.constant for each in attributes if each.constant is not None), None),
        {each.name: each.refers_to for each in attributes if each.refers_to},
    )


@dataclass(frozen=True)
class _Attribute:
    """An attribute: a number or numbers, a word, or a constant; or the name of the attribute that it takes."""

    name: str
    value: Attribute | None
    word: str | None = None
    constant: npt.NDArray[np.generic] | None = None
    refers_to: str = ""


def _attribute(message: memoryview) -> _Attribute:
    name, refers_to, word, constant = "", "", None, None
    value: Attribute | None = None
    integers: list[int] = []
    for each in read_fields(message):
        if each.number == _NAME:
            name = each.text
        elif each.number == _INT:
            (value,) = read_integers(each)
        elif each.number == _FLOAT:
            value = struct.unpack("<f", each.integer.to_bytes(4, "little"))[0]
        elif each.number == _INTS:
            integers.extend(read_integers(each))
        elif each.number == _STRING:
            word = each.text
        elif each.number == _TENSOR:
            constant = read_tensor(each.content).values
        elif each.number == _REFERS_TO:
            refers_to = each.text
    value = tuple(integers) if value is None and integers else value
    if name in _CONSTANT_NUMBERS and value is not None:
        constant = np.asarray(value, _CONSTANT_NUMBERS[name])
    return _Attribute(name, value, word, constant, refers_to)


def read_value(message: memoryview) -> EndValue:
    """What a ValueInfoProto declares; its type is not needed. Raises WireError."""
    fields = {each.number: each for each in read_fields(message)}
    name = fields[_VALUE_NAME].text if _VALUE_NAME in fields else ""
    found = fields.get(_VALUE_TYPE)
    for number in (_TYPE_TENSOR, _TENSOR_SHAPE):
        found = None if found is None else {each.number: each for each in read_fields(found.content)}.get(number)
    if found is None:
        return EndValue(name)
    dims = [
        {each.number: each for each in read_fields(dim.content)}
        for dim in read_fields(found.content)
        if dim.number == _SHAPE_DIM
    ]
    return EndValue(name, dims=tuple(_dim(dim) for dim in dims))


def _dim(fields: Mapping[int, WireField]) -> int | str | None:
    if _DIM_NUMBER in fields:
        number = fields[_DIM_NUMBER].integer
        return number if 0 < number < 1 << 63 else None
    return (fields[_DIM_SYMBOL].text or None) if _DIM_SYMBOL in fields else None
