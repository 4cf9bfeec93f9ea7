"""Operators that choose among equal values: their gradient is not unique, and other libraries choose others."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping

import numpy as np
import onnx
import onnx.helper
import onnx.numpy_helper

from onnxplain.exporters.graph.session import GraphSession


def describe_ties(graph: onnx.ModelProto, feeds: Mapping[str, np.ndarray], operators: Collection[str]) -> str:
    """Which nodes of these operators chose among equal values in a run, as a text; empty where none did."""
    tied = _tied_nodes(graph, feeds, operators)
    if not tied:
        return ""
    return f"{', '.join(tied)} chose among equal values, such as zeros behind a Relu, so the gradient is not unique"


def _tied_nodes(graph: onnx.ModelProto, feeds: Mapping[str, np.ndarray], operators: Collection[str]) -> list[str]:
    """Operators and names."""
    nodes = [node for node in graph.graph.node if node.op_type in _TIED and node.op_type in operators]
    if not nodes:
        return []
    proto = onnx.ModelProto()
    proto.CopyFrom(graph)
    own = {output.name for output in proto.graph.output}
    names = list(dict.fromkeys(name for node in nodes for name in (node.input[0], node.output[0]) if name not in feeds))
    proto.graph.output.extend(onnx.ValueInfoProto(name=name) for name in names if name not in own)
    found = GraphSession(proto, "graph with what its nodes choose from").run(feeds, names) | dict(feeds)
    stored = {tensor.name: tensor for tensor in graph.graph.initializer}
    tied = []
    for node in nodes:
        attributes = {entry.name: onnx.helper.get_attribute_value(entry) for entry in node.attribute}
        if node.op_type != "TopK" and len(node.input) > 1 and node.input[1] in stored:
            attributes["axes"] = onnx.numpy_helper.to_array(stored[node.input[1]]).tolist()
        if _TIED[node.op_type](found[node.input[0]], found[node.output[0]], attributes):
            tied.append(f"{node.op_type} {node.name or node.output[0]!r}")
    return tied


def _top_k(source: np.ndarray, chosen: np.ndarray, attributes: Mapping[str, object]) -> bool:
    """Whether one of the chosen values is equal to the next in order, chosen or not."""
    axis = int(str(attributes.get("axis", -1)))
    ordered = np.sort(source, axis=axis)
    if attributes.get("largest", 1):
        ordered = np.flip(ordered, axis)
    first = np.take(ordered, range(min(chosen.shape[axis] + 1, source.shape[axis])), axis)
    return bool((np.diff(first.astype(np.float64), axis=axis) == 0).any())


def _extreme(find: Callable[..., np.ndarray]) -> Callable[[np.ndarray, np.ndarray, Mapping[str, object]], bool]:
    """Whether the extreme value is there more than once."""

    def is_tied(source: np.ndarray, chosen: np.ndarray, attributes: Mapping[str, object]) -> bool:
        axes = attributes.get("axes")
        along = tuple(axes) if isinstance(axes, list | tuple) else tuple(range(source.ndim))
        return bool(((source == find(source, axis=along, keepdims=True)).sum(axis=along) > 1).any())

    return is_tied


_TIED: Mapping[str, Callable[[np.ndarray, np.ndarray, Mapping[str, object]], bool]] = {
    "ReduceMax": _extreme(np.max),
    "ReduceMin": _extreme(np.min),
    "TopK": _top_k,
}
