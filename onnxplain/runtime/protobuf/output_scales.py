"""Scale and zero point of outputs that a QuantizeLinear computes, read from the file."""

from __future__ import annotations

from collections.abc import Mapping

from onnxplain.machine.saturation import NodeNames
from onnxplain.runtime.protobuf.graph_reader import read_graph

# Between QuantizeLinear and the output these only move values.
_MOVES = frozenset({"Identity", "Reshape", "Squeeze", "Transpose", "Unsqueeze", "Flatten"})


def read_output_scales(model: memoryview, outputs: tuple[str, ...]) -> dict[str, tuple[float, int]]:
    """Scale and zero point of those `outputs` that are quantized with one scale; the others are left out.

    Raises WireError for bytes that are no model.
    """
    graph = read_graph(model)
    makers = {value: node for node in graph.nodes for value in node.outputs if value}
    found = {}
    for output in outputs:
        node = _behind_moves(makers, output)
        if node is None or node.operator != "QuantizeLinear":
            continue
        scale_name, zero_name = (*node.inputs[1:3], "", "")[:2]
        scale, zero = graph.scalars.get(scale_name), graph.scalars.get(zero_name) if zero_name else 0
        if scale is not None and zero is not None:
            found[output] = scale, int(zero)
    return found


def _behind_moves(makers: Mapping[str, NodeNames], value: str) -> NodeNames | None:
    for _ in makers:
        node = makers.get(value)
        if node is None or node.operator not in _MOVES:
            return node
        value = node.inputs[0]
    return None
