"""The fields of a node: what every reader of a graph needs of its message."""

from __future__ import annotations

from typing import NamedTuple

from onnxplain.runtime.protobuf.wire import read_fields

# Field numbers of NodeProto (onnx.proto).
_INPUT, _OUTPUT, _OPERATOR, _ATTRIBUTE, _DOMAIN = 1, 2, 4, 5, 7


class NodeFields(NamedTuple):
    """A node as it is stored; `attributes` are messages that have not been read."""

    domain: str
    operator: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    attributes: list[memoryview]


def read_node_fields(message: memoryview) -> NodeFields:
    """The fields of a NodeProto. Raises WireError."""
    inputs, outputs, operator, domain, attributes = [], [], "", "", []
    for field in read_fields(message):
        if field.number == _INPUT:
            inputs.append(field.text)
        elif field.number == _OUTPUT:
            outputs.append(field.text)
        elif field.number == _OPERATOR:
            operator = field.text
        elif field.number == _DOMAIN:
            domain = field.text
        elif field.number == _ATTRIBUTE:
            attributes.append(field.content)
    return NodeFields(domain, operator, tuple(inputs), tuple(outputs), attributes)
