"""Names that an explainable graph gives to its own nodes and values, and how a name is kept free for them."""

from __future__ import annotations

import onnx_ir as ir

from onnxplain.errors import ModelError

# Every node that is added to a model bears it, so that it can be found and removed again.
PREFIX = "onnxplain"


def free_name(graph: ir.Graph, name: str, keep: ir.Value | None = None) -> None:
    """Rename an inner value that happens to bear a name of the contract."""
    values = [*graph.inputs, *graph.initializers.values(), *(output for node in graph for output in node.outputs)]
    for value in values:
        if value.name != name or value is keep:
            continue
        if value.is_graph_output() or value.is_graph_input():
            raise ModelError(f"the model has an input or output named {name!r}, a name of the contract: rename it")
        value.name = f"{name}.inner"
