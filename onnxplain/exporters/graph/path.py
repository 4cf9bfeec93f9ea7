"""The nodes between two values of a graph."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import onnx_ir as ir

from onnxplain.errors import UnsupportedError


def path_between(source: ir.Value, targets: Sequence[ir.Value]) -> list[ir.Node]:
    """Nodes that depend on `source` and that some target depends on, in the graph's order."""
    graph = source.graph
    if graph is None:
        raise UnsupportedError(f"value {source.name!r} belongs to no graph, expected a value of the model's graph")
    reached, after = {source}, []
    for node in graph:
        if any(value in reached for value in sources_of(node)):
            reached.update(node.outputs)
            after.append(node)
    wanted, path = set(targets), []
    for node in reversed(after):
        if any(output in wanted for output in node.outputs):
            wanted.update(sources_of(node))
            path.append(node)
    return path[::-1]


def sources_of(node: ir.Node) -> Iterator[ir.Value]:
    """The values that a node reads: its inputs, and the outer values that its subgraphs read."""
    yield from (source for source in node.inputs if source is not None)
    for attr in node.attributes.values():
        if attr.type == ir.AttributeType.GRAPH:
            for inner in attr.as_graph():
                yield from sources_of(inner)
