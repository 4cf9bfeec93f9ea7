"""What can be read of an ONNX file without a package that reads ONNX: names of the graph, and small constants.

The numbers of the fields are those of onnx.proto (https://github.com/onnx/onnx/blob/main/onnx/onnx.proto).
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from onnxplain.machine.saturation import NodeNames
from onnxplain.runtime.protobuf.scalars import read_scalar
from onnxplain.runtime.protobuf.wire import WireError, WireField, encode_content, read_fields, read_integers, without

_MODEL_GRAPH, _MODEL_METADATA = 7, 14
_GRAPH_NODE, _GRAPH_INITIALIZER, _GRAPH_INPUT, _GRAPH_OUTPUT = 1, 5, 11, 12
_NODE_INPUT, _NODE_OUTPUT, _NODE_OPERATOR, _NODE_ATTRIBUTE = 1, 2, 4, 5
_ATTRIBUTE_NAME, _ATTRIBUTE_TENSOR = 1, 5
_TENSOR_TYPE, _TENSOR_INT32, _TENSOR_NAME, _TENSOR_RAW = 2, 5, 8, 9
_VALUE_NAME = 1
_ENTRY_KEY = 1
_EIGHT_BITS: Mapping[int, type[np.integer[Any]]] = {2: np.uint8, 3: np.int8}


@dataclass(frozen=True)
class GraphNames:
    """The main graph of a file: its nodes, and the names of inputs, outputs and stored constants.

    `eight_bit` holds the constants in int8 and uint8, flat; of those that lie in another file only the two ends of
    their type are known. `scalars`: the constants of one element, in these types or float. `metadata`: the keys of the
    file's metadata.
    """

    nodes: tuple[NodeNames, ...]
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    initializers: tuple[str, ...]
    eight_bit: Mapping[str, npt.NDArray[Any]]
    scalars: Mapping[str, float]
    metadata: tuple[str, ...]


def read_graph(model: bytes | memoryview) -> GraphNames:
    """The names in a serialised model; float weights are skipped. Raises WireError for bytes that are none."""
    view = memoryview(model)
    fields = list(read_fields(_graph_of(view).content))
    tensors = [field.content for field in fields if field.number == _GRAPH_INITIALIZER]
    names = [_string(tensor, _TENSOR_NAME) for tensor in tensors]
    constants = dict(zip(names, tensors, strict=True))
    nodes = []
    for field in fields:
        if field.number == _GRAPH_NODE:
            node = _read_node(field.content)
            nodes.append(node)
            tensor = _constant_of(field.content) if node.operator == "Constant" and node.outputs else None
            if tensor is not None:
                constants[node.outputs[0]] = tensor
    return GraphNames(
        nodes=tuple(nodes),
        inputs=_values(fields, _GRAPH_INPUT),
        outputs=_values(fields, _GRAPH_OUTPUT),
        initializers=tuple(names),
        eight_bit={name: array for name, each in constants.items() if (array := _eight_bit(each)) is not None},
        scalars={name: number for name, each in constants.items() if (number := read_scalar(each)) is not None},
        metadata=tuple(_string(f.content, _ENTRY_KEY) for f in read_fields(view) if f.number == _MODEL_METADATA),
    )


def without_initializers(model: bytes, names: Collection[str]) -> bytes:
    """The serialised model without these stored constants: an input that had one as default becomes required.

    Every other byte stays as it is. Raises WireError for bytes that are no model.
    """
    view = memoryview(model)
    graph = _graph_of(view)
    dropped = [
        field
        for field in read_fields(graph.content)
        if field.number == _GRAPH_INITIALIZER and _string(field.content, _TENSOR_NAME) in names
    ]
    pieces = without(graph.content, dropped)
    size = sum(len(piece) for piece in pieces)
    return b"".join((view[: graph.start], encode_content(_MODEL_GRAPH, size), *pieces, view[graph.end :]))


def with_outputs(model: memoryview, names: Collection[str]) -> bytes:
    """The serialised model with more values of its graph as outputs; their types are left to whoever loads it.

    Raises WireError for bytes that are no model.
    """
    graph = _graph_of(model)
    values = [_message(_VALUE_NAME, name.encode()) for name in names]
    added = b"".join(_message(_GRAPH_OUTPUT, value) for value in values)
    start = encode_content(_MODEL_GRAPH, len(graph.content) + len(added))
    return b"".join((model[: graph.start], start, graph.content, added, model[graph.end :]))


def _message(number: int, content: bytes) -> bytes:
    return encode_content(number, len(content)) + content


def _graph_of(model: memoryview) -> WireField:
    graphs = [field for field in read_fields(model) if field.number == _MODEL_GRAPH]
    if len(graphs) != 1:
        raise WireError(f"found {len(graphs)} graphs, expected one")
    return graphs[0]


def _read_node(message: memoryview) -> NodeNames:
    fields = list(read_fields(message))
    inputs, outputs = (
        tuple(field.text for field in fields if field.number == number) for number in (_NODE_INPUT, _NODE_OUTPUT)
    )
    return NodeNames("".join(field.text for field in fields if field.number == _NODE_OPERATOR), inputs, outputs)


def _constant_of(node: memoryview) -> memoryview | None:
    """The tensor of a Constant node."""
    for attribute in (field.content for field in read_fields(node) if field.number == _NODE_ATTRIBUTE):
        if _string(attribute, _ATTRIBUTE_NAME) == "value":
            for field in read_fields(attribute):
                if field.number == _ATTRIBUTE_TENSOR:
                    return field.content
    return None


def _eight_bit(tensor: memoryview) -> npt.NDArray[Any] | None:
    """The values of a tensor, flat; None where its type is another."""
    dtype, stored, listed = None, None, []
    for field in read_fields(tensor):
        if field.number == _TENSOR_TYPE:
            dtype = _EIGHT_BITS.get(field.integer)
        elif field.number == _TENSOR_RAW:
            stored = field.content
        elif field.number == _TENSOR_INT32:
            listed.extend(read_integers(field))
    if dtype is None:
        return None
    if stored is not None:
        return np.frombuffer(stored, dtype)
    ends = np.iinfo(dtype)
    return np.array(listed or [ends.min, ends.max]).astype(dtype)


def _values(fields: Collection[WireField], number: int) -> tuple[str, ...]:
    return tuple(_string(field.content, _VALUE_NAME) for field in fields if field.number == number)


def _string(message: memoryview, number: int) -> str:
    """The last string in that field, as protobuf reads it; empty without one."""
    found = [field.text for field in read_fields(message) if field.number == number]
    return found[-1] if found else ""
