"""The names of nodes and values that an explainable graph adds, and how such a name is kept free."""

from __future__ import annotations

import onnx_ir as ir

from onnxplain.errors import ModelError

# Every node that is added to a model has this prefix in its name, so that it can be found and removed again.
PREFIX = "onnxplain"


def free_name(graph: ir.Graph, name: str, keep: ir.Value | None = None) -> None:
    """Rename an inner value that has a name of the contract. Raises ModelError if it is a model input or output."""
    values = [*graph.inputs, *graph.initializers.values(), *(output for node in graph for output in node.outputs)]
    for value in values:
        if value.name != name or value is keep:
            continue
        if value.is_graph_output() or value.is_graph_input():
            raise ModelError(
                f"found a model input or output named {name!r}, expected another name, since onnxplain adds "
                "one with this name: rename it"
            )
        value.name = f"{name}.inner"
