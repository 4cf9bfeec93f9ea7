"""Reverse-mode differentiation of an ONNX graph: the walk from the seeds back to the layer.

Griewank & Walther, Evaluating Derivatives (2008), chapter 3: cotangents flow against the edges. They are added if a
value is used more than once. Each operator's rule turns the cotangents of its outputs into those of its inputs. The
walk does what is common to all operators: reachability, adding, broadcasting, the refusal of unknown operators.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence, Set

import onnx_ir as ir

from onnxplain.errors import UnboundedLoopError, UnsupportedError
from onnxplain.exporters.file.unrolling import why_kept
from onnxplain.exporters.gradient.rules import Site, is_step, rule_of
from onnxplain.exporters.graph.branch import Branch
from onnxplain.exporters.graph.loops import BOUND_IT, NO_BOUND, is_unbounded
from onnxplain.exporters.graph.path import path_between, sources_of
from onnxplain.exporters.graph.values import FLOATS, describe, dims
from onnxplain.exporters.operators.expansion import expand_node, expansion_of
from onnxplain.exporters.operators.table import operator_of


class ZeroGradientError(UnsupportedError):
    """The gradient at a layer is zero, whatever the image."""


def is_differentiable(path: Sequence[ir.Node]) -> bool:
    """Whether every operator of the path has a rule, can be expanded into standard nodes, or has gradient zero."""
    for node in path:
        if rule_of(node) is not None:
            continue
        if operator_of(node).control_flow or node.graph is None:
            return False
        try:
            with expansion_of(node, node.graph.opset_imports[""]) as expansion:
                if expansion is None:
                    return False
        except UnsupportedError:
            return False
    return True


def differentiate(
    branch: Branch, seeds: Mapping[ir.Value, ir.Value], layer: ir.Value, name: str | None = None
) -> ir.Value:
    """Emit the gradient of Σ seed · value with respect to `layer` into the branch.

    `seeds` maps a value of the main graph to its cotangent, float32, of the same shape. Returns the gradient, float32,
    in the layer's shape. `name` is the layer's name in messages. Raises UnsupportedError with the name of the node for
    an operator without a rule, and also if no gradient arrives at the layer.
    """
    return differentiate_at(branch, seeds, {name or str(layer.name): layer})[0]


def differentiate_at(
    branch: Branch, seeds: Mapping[ir.Value, ir.Value], layers: Mapping[str, ir.Value]
) -> list[ir.Value]:
    """As `differentiate`, with respect to several values from one walk. The others lie behind the first, by name."""
    first = next(iter(layers.values()))
    path = path_between(first, list(seeds))
    cotangents: dict[ir.Value, ir.Value] = dict(seeds)
    opset = first.graph.opset_imports[""] if first.graph is not None else 0
    _walk_back(branch, path, set(layers.values()), cotangents, opset)
    for name, layer in layers.items():
        if layer not in cotangents:
            steps = ", ".join(describe(node) for node in path if is_step(node) or operator_of(node).name == "Cast")
            raise ZeroGradientError(
                f"the gradient of the outputs with respect to layer {name!r} is identically zero: every path passes "
                f"an operator without a derivative ({steps or 'none was found'}); choose a later layer"
            )
    return [cotangents[layer] for layer in layers.values()]


def values_that_vary(path: Sequence[ir.Node], roots: Set[ir.Value]) -> set[ir.Value]:
    """The roots, and the outputs of the path that vary with them.

    The output of a step does not, for example the sizes of a Resize computed from a Shape.
    """
    varying = set(roots)
    for node in path:
        if not is_step(node) and any(source in varying for source in sources_of(node)):
            varying.update(node.outputs[:1] if operator_of(node).constant_rest else node.outputs)
    return varying


def _walk_back(
    branch: Branch,
    path: Sequence[ir.Node],
    roots: Set[ir.Value],
    cotangents: dict[ir.Value, ir.Value],
    opset: int,
) -> None:
    """Propagate `cotangents` over the nodes, last to first. `roots` are the values whose gradient is wanted."""
    varying = values_that_vary(path, roots)
    for node in reversed(path):
        arriving = tuple(cotangents.get(output) for output in node.outputs)
        if all(cotangent is None for cotangent in arriving) or is_step(node):
            continue
        operator, rule = operator_of(node), rule_of(node)
        if operator.control_flow and any(source in varying for source in sources_of(node)):
            if is_unbounded(node):
                raise UnboundedLoopError(f"no gradient for {describe(node)}: {NO_BOUND}; {BOUND_IT}")
            why = why_kept(node)
            reason = "" if why is None else f" ({why.value})"
            raise UnsupportedError(
                f"no gradient for {describe(node)}: control flow on the path{reason}; choose a later layer, or "
                "explain the file with rise, which needs no gradients"
            )
        active = frozenset(index for index, source in enumerate(node.inputs) if source in varying)
        if not active:
            continue
        if rule is None:
            _walk_through_expansion(branch, node, active, cotangents, opset)
            continue
        if not operator.every_output:
            _check_used_by_its_first(node, arriving)
        first = next(cotangent for cotangent in arriving if cotangent is not None)
        gradients = rule(Site(node, branch, active, arriving), first)
        for index in sorted(active):
            source, gradient = node.inputs[index], gradients[index]
            if gradient is None or source is None:
                continue
            if operator.broadcasts:
                gradient = _sum_to(branch, gradient, dims(node.outputs[0]), source)
            _accumulate(branch, cotangents, source, gradient)


def _walk_through_expansion(
    branch: Branch, node: ir.Node, active: frozenset[int], cotangents: dict[ir.Value, ir.Value], opset: int
) -> None:
    """Differentiate an operator without a rule through the standard nodes of its expansion."""
    expansion = expand_node(node, opset)
    if expansion is None:
        domain = f"{node.domain}." if node.domain else ""
        raise UnsupportedError(
            f"no gradient rule for operator {domain}{node.op_type} at node {describe(node)}: choose a later layer, or "
            "explain the file with rise, which needs no gradients"
        )
    for index, (output, made) in enumerate(zip(node.outputs, expansion.outputs, strict=True)):
        if output not in cotangents:
            continue
        if made is None:
            raise UnsupportedError(
                f"no gradient for {describe(node)}: its output {index} is used and cannot be differentiated; "
                "choose a later layer"
            )
        _accumulate(branch, cotangents, made, cotangents[output])
        branch.stand_in(made, output)
    roots = {source for index, source in enumerate(node.inputs) if index in active and source is not None}
    _walk_back(branch, expansion.nodes, roots, cotangents, opset)


def _accumulate(branch: Branch, cotangents: dict[ir.Value, ir.Value], value: ir.Value, gradient: ir.Value) -> None:
    known = cotangents.get(value)
    cotangents[value] = gradient if known is None else branch.Add(known, gradient)


def _check_used_by_its_first(node: ir.Node, arriving: Sequence[ir.Value | None]) -> None:
    """Raise UnsupportedError if a later output is used: a rule sees only the cotangent of the first output."""
    for index, cotangent in enumerate(arriving):
        lost = index > 0 and cotangent is not None and (arriving[0] is None or node.outputs[index].dtype in FLOATS)
        if lost:
            raise UnsupportedError(
                f"no gradient for {describe(node)}: its output {index} is used, and its rule supports only output 0; "
                "choose a later layer"
            )


def _sum_to(branch: Branch, gradient: ir.Value, from_dims: Sequence[int | str], source: ir.Value) -> ir.Value:
    """Sum over the axes along which `source` was broadcast to `from_dims`.

    Two symbolic sizes count as equal. If they differ when the graph runs, ONNX Runtime reports an error about the
    shapes instead of returning a wrong result.
    """
    to_dims = dims(source)
    added = len(from_dims) - len(to_dims)
    if added < 0:
        return gradient
    stretched = [axis + added for axis, size in enumerate(to_dims) if size == 1 and from_dims[axis + added] != 1]
    if stretched:
        gradient = branch.ReduceSum(gradient, stretched, keepdims=1)
    return branch.ReduceSum(gradient, list(range(added)), keepdims=0) if added else gradient
