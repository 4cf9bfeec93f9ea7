"""The optional inputs and the gated gradient branches of the explainable graph.

ONNX Runtime runs every node that some output needs, even if that output is not fetched. So the gradient of each layer
is inside an `If` of its own, the gate. A closed gate costs only a Slice of no rows.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import numpy as np
import onnx_ir as ir

from onnxplain.contract import (
    ATTENTION_INPUT,
    EXPLAIN_INPUT,
    EXPLAINED_DIMENSION,
    REFERENCE_INPUT,
    REGION_INPUT,
    TARGET_INPUT,
    gradients_output,
)
from onnxplain.exporters.anatomy.heads import Head
from onnxplain.exporters.anatomy.layers import Layer
from onnxplain.exporters.gradient.differentiate import differentiate
from onnxplain.exporters.gradient.many_targets import RepeatedParts
from onnxplain.exporters.graph.branch import Branch
from onnxplain.exporters.graph.names import PREFIX
from onnxplain.exporters.graph.values import FLOATS, dequantizer_of

# Emits the values at which the gradient of a layer starts, with their cotangents; the last argument: `many`.
SeedMaker = Callable[[Branch, ir.Value, bool], Mapping[ir.Value, ir.Value]]


def control_defaults(heads: Sequence[Head], gated: bool, attention: bool = False) -> dict[str, np.ndarray]:
    """The inputs that the heads, and the attention where the file has it, need, with their defaults.

    A reference of zeros has no direction: the gradient of its cosine is NaN. A region of one is the whole mask.
    """
    defaults: dict[str, np.ndarray] = {TARGET_INPUT: np.array([-1], np.int64)}
    if gated:
        defaults[EXPLAIN_INPUT] = np.array([False])
    if gated and attention:
        defaults[ATTENTION_INPUT] = np.array([False])
    for head in heads:
        if head.kind == "embedding":
            defaults[REFERENCE_INPUT] = np.zeros((1, head.size), np.float32)
        if head.kind == "mask":
            defaults[REGION_INPUT] = np.ones((1, 1, 1, 1), np.float32)
    return defaults


def add_control(graph: ir.Graph, name: str, default: np.ndarray, required: bool) -> ir.Value:
    """Append an input of the contract; it has the default value unless `required`."""
    tensor = ir.tensor(default, name=name)
    shape: list[str | int] = [f"{name}s", *default.shape[1:]]
    if name == REGION_INPUT:
        shape[2:] = [f"{name}_height", f"{name}_width"]
    value = ir.Value(name=name, shape=ir.Shape(shape), type=ir.TensorType(tensor.dtype), const_value=None)
    graph.inputs.append(value)
    if not required:
        value.const_value = tensor
        graph.register_initializer(value)
    return value


def split_gates(graph: ir.Graph, explain: ir.Value, count: int, name: str = "gates") -> list[ir.Value]:
    """One condition per layer, from `explain`, which has one entry for all layers or one entry per layer.

    Any other length is an error at run time: in the Expand, or in the Reshape if there is only one layer (Expand would
    accept a longer `explain` there).
    """
    main = Branch(f"{PREFIX}/{name}")
    each = main.Reshape(main.Expand(explain, [count]), [count])
    # ONNX Runtime 1.31 makes Gathers of all entries a Split itself, and fails if it has done so in that file before.
    parts = main.emit("Split", [each, [1] * count], {"axis": 0}, outputs=count) if count > 1 else [each]
    gates = [main.Squeeze(part, [0]) for part in parts]
    graph.extend(main.nodes)
    return gates


def add_gradient(
    graph: ir.Graph,
    layer: Layer,
    features: ir.Value,
    seeds_of: SeedMaker,
    gate: ir.Value | None,
    index: int,
    many: RepeatedParts | None = None,
) -> ir.Value:
    """Append the layer's `If`, or, without a gate, its content; returns the output ``gradients/<layer>``.

    float32 [explained, K, h, w]. `seeds_of`: emits where the gradient starts. `many`: what is repeated so that one
    image may have several targets; None: it has one.
    """
    then_branch = Branch(f"{PREFIX}/{index}/then")
    seeds = seeds_of(then_branch, layer.tap, many is not None)
    if many is not None:
        many.read_in(then_branch, next(iter(seeds.values())))
    gradient = differentiate(then_branch, seeds, layer.tap, layer.name)
    if layer.tap.dtype not in FLOATS:
        gradient = _in_dequantized_units(then_branch, gradient, layer.tap)
    gradient = layer.arrangement.to_map(then_branch, gradient, layer.channels)
    # An output of a subgraph must be computed inside it, but the gradient can be a shared constant or an outer value.
    gradient = then_branch.Identity(gradient)

    else_branch = Branch(f"{PREFIX}/{index}/else")
    nothing = else_branch.Slice(features, [0], [0], [0])

    shape = ir.Shape([EXPLAINED_DIMENSION, layer.channels, *layer.size_hw])
    output = behind_gate(graph, gate, (then_branch, gradient), (else_branch, nothing), shape, f"{PREFIX}/{index}")
    output.name = gradients_output(layer.name)
    return output


def behind_gate(
    graph: ir.Graph,
    gate: ir.Value | None,
    then: tuple[Branch, ir.Value],
    otherwise: tuple[Branch, ir.Value],
    shape: ir.Shape,
    name: str,
) -> ir.Value:
    """Append an `If` of that name: two branches, each with the float32 value that it gives; returns its output.

    Without a gate the first branch becomes a part of the graph.
    """
    (branch, value), (other_branch, other) = then, otherwise
    (output,) = several_behind_gate(graph, gate, (branch, [value]), (other_branch, [other]), [shape], name)
    return output


def several_behind_gate(
    graph: ir.Graph,
    gate: ir.Value | None,
    then: tuple[Branch, Sequence[ir.Value]],
    otherwise: tuple[Branch, Sequence[ir.Value]],
    shapes: Sequence[ir.Shape],
    name: str,
) -> Sequence[ir.Value]:
    """As `behind_gate`, for branches of several values."""
    for _, values in (then, otherwise):
        _tell(values, shapes)
    if gate is None:
        branch, outputs = then
        graph.extend(branch.nodes)
        return outputs
    attributes = [
        ir.AttrGraph(key, _subgraph(*branch)) for key, branch in (("then_branch", then), ("else_branch", otherwise))
    ]
    node = ir.Node("", "If", [gate], attributes=attributes, num_outputs=len(shapes), name=name)
    _tell(node.outputs, shapes)
    graph.append(node)
    return node.outputs


def _tell(values: Sequence[ir.Value], shapes: Sequence[ir.Shape]) -> None:
    for value, shape in zip(values, shapes, strict=True):
        value.shape, value.type = shape, ir.TensorType(ir.DataType.FLOAT)


def _in_dequantized_units(branch: Branch, gradient: ir.Value, tap: ir.Value) -> ir.Value:
    """d target / d integers → d target / d features, with features = (integers − z) · s."""
    scale = dequantizer_of(tap).inputs[1]
    assert scale is not None
    return branch.Div(gradient, branch.forward(scale))


def _subgraph(branch: Branch, outputs: Sequence[ir.Value]) -> ir.Graph:
    return ir.Graph(inputs=[], outputs=outputs, nodes=branch.nodes, name=f"{outputs[0].name}_graph")
