"""Scale and zero point of outputs that a QuantizeLinear computes, read from the file."""

from __future__ import annotations

import math
import struct
from collections.abc import Mapping

from onnxplain.runtime.protobuf.wire import WireField, read_fields, read_integers

_MODEL_GRAPH, _GRAPH_NODE, _GRAPH_INITIALIZER = 7, 1, 5
_NODE_INPUT, _NODE_OUTPUT, _NODE_OPERATOR, _NODE_ATTRIBUTE = 1, 2, 4, 5
_ATTRIBUTE_TENSOR = 5
_TENSOR_DIMS, _TENSOR_TYPE, _TENSOR_FLOAT, _TENSOR_INT32, _TENSOR_NAME, _TENSOR_RAW = 1, 2, 4, 5, 8, 9
_FLOAT, _UINT8, _INT8, _FLOAT16 = 1, 2, 3, 10
_FORMATS: Mapping[int, str] = {_FLOAT: "<f", _UINT8: "<B", _INT8: "<b", _FLOAT16: "<e"}
# Between QuantizeLinear and the output these only move values.
_MOVES = frozenset({"Identity", "Reshape", "Squeeze", "Transpose", "Unsqueeze", "Flatten"})


def read_output_scales(model: memoryview, outputs: tuple[str, ...]) -> dict[str, tuple[float, int]]:
    """Scale and zero point of those `outputs` that are quantized with one scale; the others are left out.

    Raises WireError for bytes that are no model.
    """
    graph = [field for field in read_fields(model) if field.number == _MODEL_GRAPH]
    makers: dict[str, tuple[str, list[str]]] = {}
    scalars: dict[str, float | None] = {}
    for field in (field for message in graph for field in read_fields(message.content)):
        if field.number == _GRAPH_INITIALIZER:
            scalars[_name(field.content)] = _scalar(field.content)
        elif field.number == _GRAPH_NODE:
            node = list(read_fields(field.content))
            operator = "".join(each.text for each in node if each.number == _NODE_OPERATOR)
            inputs, results = (
                [each.text for each in node if each.number == number] for number in (_NODE_INPUT, _NODE_OUTPUT)
            )
            makers |= dict.fromkeys(results, (operator, inputs))
            if operator == "Constant" and results:
                scalars |= dict.fromkeys(results[:1], _constant(node))
    found = {}
    for output in outputs:
        operator, inputs = _behind_moves(makers, output)
        if operator != "QuantizeLinear":
            continue
        scale, zero = scalars.get(inputs[1]), scalars.get(inputs[2]) if len(inputs) > 2 and inputs[2] else 0.0
        if scale is not None and zero is not None:
            found[output] = scale, int(zero)
    return found


def _name(tensor: memoryview) -> str:
    return "".join(field.text for field in read_fields(tensor) if field.number == _TENSOR_NAME)


def _behind_moves(makers: Mapping[str, tuple[str, list[str]]], value: str) -> tuple[str, list[str]]:
    for _ in makers:
        operator, inputs = makers.get(value, ("", []))
        if operator not in _MOVES:
            return operator, inputs
        value = inputs[0]
    return "", []


def _constant(node: list[WireField]) -> float | None:
    """The value of a Constant node of one number; None for others."""
    for attribute in (field.content for field in node if field.number == _NODE_ATTRIBUTE):
        for field in read_fields(attribute):
            if field.number == _ATTRIBUTE_TENSOR:
                return _scalar(field.content)
    return None


def _scalar(tensor: memoryview) -> float | None:
    """The number of a tensor of one element; None for others."""
    kind, elements, stored = 0, 1, None
    listed: list[float] = []
    for field in read_fields(tensor):
        if field.number == _TENSOR_TYPE:
            kind = field.integer
        elif field.number == _TENSOR_DIMS:
            elements *= math.prod(read_integers(field))
        elif field.number == _TENSOR_RAW:
            stored = field.content
        elif field.number == _TENSOR_INT32:
            listed.extend(read_integers(field))
        elif field.number == _TENSOR_FLOAT:
            listed.extend(_floats(field))
    if elements != 1 or kind not in _FORMATS:
        return None
    if kind == _FLOAT16 and listed:
        stored = memoryview(struct.pack("<H", int(listed[0])))
    if stored is None:
        # A zero that protobuf leaves out.
        return float(listed[0]) if listed else 0.0
    found = struct.unpack(_FORMATS[kind], stored) if len(stored) == struct.calcsize(_FORMATS[kind]) else (None,)
    return None if found[0] is None else float(found[0])


def _floats(field: WireField) -> list[float]:
    """The numbers of a repeated float field: several where it is packed, else one."""
    content = field.value.to_bytes(4, "little") if isinstance(field.value, int) else field.value
    return list(struct.unpack(f"<{len(content) // 4}f", content[: len(content) // 4 * 4]))
