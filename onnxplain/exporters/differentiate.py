"""Reverse-mode differentiation of an ONNX graph: the walk from the seeds back to the layer.

Griewank & Walther, Evaluating Derivatives (2008), chapter 3: cotangents flow against the edges, are added where
a value is used more than once, and each operator's rule turns the cotangents of its outputs into those of its
inputs. The walk owns what is general: reachability, adding, broadcasting, the refusal of unknown operators.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import onnx_ir as ir

from onnxplain.errors import UnsupportedError
from onnxplain.exporters.branch import Branch
from onnxplain.exporters.rules import BROADCASTING, RULES, Site
from onnxplain.exporters.values import describe, dims, downstream, upstream


def path_between(source: ir.Value, targets: Sequence[ir.Value]) -> list[ir.Node]:
    """Nodes that depend on `source` and that some target depends on, in the graph's order."""
    after = set(downstream(source))
    before: set[ir.Node] = set()
    for target in targets:
        before.update(upstream(target))
    graph = source.graph
    if graph is None:
        raise UnsupportedError(f"value {source.name!r} belongs to no graph")
    return [node for node in graph if node in after and node in before]


def differentiate(branch: Branch, seeds: Mapping[ir.Value, ir.Value], layer: ir.Value) -> ir.Value:
    """Emit the gradient of Σ seed · value with respect to `layer` into the branch.

    `seeds` maps a value of the main graph to its cotangent, same shape, float32. Returns the gradient, float32,
    of the layer's shape. Raises UnsupportedError for an operator without a rule, naming the node, and where no
    gradient arrives at the layer.
    """
    path = path_between(layer, list(seeds))
    on_path = {output for node in path for output in node.outputs} | {layer}
    cotangents: dict[ir.Value, ir.Value] = dict(seeds)
    for node in reversed(path):
        arriving = tuple(cotangents.get(output) for output in node.outputs)
        if arriving[0] is None:
            continue
        rule = RULES.get(node.op_type) if node.domain in ("", "ai.onnx") else None
        if rule is None:
            raise UnsupportedError(
                f"no gradient rule for operator {node.op_type} at node {describe(node)}, between layer "
                f"{layer.name!r} and the outputs: choose a later layer, or explain the file with rise, which needs "
                "no gradients"
            )
        active = frozenset(index for index, source in enumerate(node.inputs) if source in on_path)
        gradients = rule(Site(node, branch, active, arriving), arriving[0])
        for index in sorted(active):
            source = node.inputs[index]
            gradient = gradients[index]
            if gradient is None or source is None:
                continue
            if node.op_type in BROADCASTING:
                gradient = _sum_to(branch, gradient, dims(node.outputs[0]), source)
            known = cotangents.get(source)
            cotangents[source] = gradient if known is None else branch.Add(known, gradient)
    if layer not in cotangents:
        raise UnsupportedError(
            f"the gradient of the outputs with respect to layer {layer.name!r} is identically zero: every path "
            "passes an operator without a derivative; choose a later layer"
        )
    return cotangents[layer]


def _sum_to(branch: Branch, gradient: ir.Value, from_dims: Sequence[int | str], source: ir.Value) -> ir.Value:
    """Sum over the axes along which `source` was broadcast to `from_dims`.

    Two symbolic sizes count as the same size; should they differ when the graph runs, ONNX Runtime fails on the
    shapes rather than answer wrongly.
    """
    to_dims = dims(source)
    added = len(from_dims) - len(to_dims)
    if added < 0:
        return gradient
    stretched = [axis + added for axis, size in enumerate(to_dims) if size == 1 and from_dims[axis + added] != 1]
    if stretched:
        gradient = branch.ReduceSum(gradient, stretched, keepdims=1)
    return branch.ReduceSum(gradient, list(range(added)), keepdims=0) if added else gradient
