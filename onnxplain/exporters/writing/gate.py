"""The two optional inputs and the gated gradient branches of the explainable graph.

ONNX Runtime runs every node that some output needs, even if that output is not fetched. So the gradient of each layer
is inside an `If` of its own, the gate. A closed gate costs only a Slice of no rows.
"""

from __future__ import annotations

import numpy as np
import onnx_ir as ir

from onnxplain.contract import BOX_COORDINATES, EXPLAIN_INPUT, EXPLAINED_DIMENSION, TARGET_INPUT, gradients_output
from onnxplain.exporters.anatomy.layers import Layer
from onnxplain.exporters.anatomy.roles import Roles
from onnxplain.exporters.gradient.differentiate import differentiate
from onnxplain.exporters.gradient.last_product import find_last_product, seed_source
from onnxplain.exporters.graph.branch import Branch
from onnxplain.exporters.graph.names import PREFIX
from onnxplain.exporters.graph.values import FLOATS, dequantizer_of, dims
from onnxplain.exporters.operators.unrounded import unrounded

CONTROL_DEFAULTS = {TARGET_INPUT: np.array([-1], np.int64), EXPLAIN_INPUT: np.array([False])}


def add_control(graph: ir.Graph, name: str, required: bool) -> ir.Value:
    """Append the input `target` or `explain`; it has a default value unless `required`."""
    tensor = ir.tensor(CONTROL_DEFAULTS[name], name=name)
    value = ir.Value(name=name, shape=ir.Shape([f"{name}s"]), type=ir.TensorType(tensor.dtype), const_value=None)
    graph.inputs.append(value)
    if not required:
        value.const_value = tensor
        graph.register_initializer(value)
    return value


def split_gates(graph: ir.Graph, explain: ir.Value, count: int) -> list[ir.Value]:
    """One condition per layer, from `explain`, which has one entry for all layers or one entry per layer.

    Any other length is an error at run time: in the Expand, or in the Reshape if there is only one layer (Expand would
    accept a longer `explain` there).
    """
    main = Branch(f"{PREFIX}/gates")
    each = main.Reshape(main.Expand(explain, [count]), [count])
    gates = [main.Gather(each, index, axis=0) for index in range(count)]
    graph.extend(main.nodes)
    return gates


def add_gradient(
    graph: ir.Graph,
    layer: Layer,
    features: ir.Value,
    roles: Roles,
    target: ir.Value,
    gate: ir.Value | None,
    index: int,
    many: bool = False,
) -> ir.Value:
    """Append the layer's `If`, or, without a gate, its content; returns the output ``gradients/<layer>``.

    float32 [explained, K, h, w]. `many`: one image may have several targets.
    """
    then_branch = Branch(f"{PREFIX}/{index}/then")
    seeds = seed_cotangents(then_branch, roles, target, layer.tap, many)
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
    for _, value in (then, otherwise):
        value.shape, value.type = shape, ir.TensorType(ir.DataType.FLOAT)
    if gate is None:
        branch, output = then
        graph.extend(branch.nodes)
        return output
    attributes = [
        ir.AttrGraph(key, _subgraph(*branch)) for key, branch in (("then_branch", then), ("else_branch", otherwise))
    ]
    node = ir.Node("", "If", [gate], attributes=attributes, num_outputs=1, name=name)
    (output,) = node.outputs
    output.shape, output.type = shape, ir.TensorType(ir.DataType.FLOAT)
    graph.append(node)
    return output


def flat_logits(branch: Branch, roles: Roles) -> ir.Value:
    """The logits as float32 [N, C]."""
    logits = unrounded(branch, roles.logits)
    return logits if len(dims(roles.logits)) == 2 else branch.Reshape(logits, [-1, roles.classes])


def seed_cotangents(
    branch: Branch, roles: Roles, target: ir.Value, layer: ir.Value, many: bool = False
) -> dict[ir.Value, ir.Value]:
    """The values at which the gradient for `target` starts, with their cotangents; row i belongs to image i.

    `many`: if there is one image, row i belongs to target i.

    For a class, the start is the input of the last product with weights. If `find_last_product` finds no such product,
    it is the logits, with a one-hot cotangent. For a box coordinate it is the box. A negative target means the class
    with the largest logit. Gather and ScatterElements raise an error if a target is out of range; OneHot or Equal
    would return a zero map without an error.
    """
    # The logits are computed inside the branch. ONNX Runtime 1.31 crashes while it optimises the main graph's flattened
    # logits: a Reshape after a DequantizeLinear whose output a subgraph reads.
    logits = flat_logits(branch, roles)
    best = branch.ArgMax(logits, axis=1, keepdims=0)
    asked = spread_over(branch, target, branch.Shape(logits, start=0, end=1), many)
    chosen = branch.Where(branch.Less(target, 0), best, asked)
    batch = branch.Shape(chosen)
    product = find_last_product(roles.logits, roles.classes, layer)
    if product is not None and roles.box is None:
        return {product.source: seed_source(branch, product, chosen)}
    columns = roles.classes + (BOX_COORDINATES if roles.box is not None else 0)
    zeros = branch.ConstantOfShape(branch.Concat(batch, [columns], axis=0), value=ir.tensor(np.zeros(1, np.float32)))
    ones = branch.ConstantOfShape(branch.Concat(batch, [1], axis=0), value=ir.tensor(np.ones(1, np.float32)))
    one_hot = branch.ScatterElements(zeros, branch.Unsqueeze(chosen, [1]), ones, axis=1)
    if roles.box is None:
        return {roles.logits: _shaped(branch, one_hot, roles.logits)}
    for_logits, for_box = branch.emit("Split", [one_hot, [roles.classes, BOX_COORDINATES]], {"axis": 1}, outputs=2)
    seeds = {roles.box: _shaped(branch, for_box, roles.box)}
    if product is None:
        return {roles.logits: _shaped(branch, for_logits, roles.logits), **seeds}
    # A box coordinate has no row among the weights: any row is gathered and multiplied by 0.
    is_class = branch.ReduceSum(for_logits, [1], keepdims=0)
    row = branch.Min(chosen, roles.classes - 1)
    return {product.source: seed_source(branch, product, row, is_class), **seeds}


def spread_over(branch: Branch, target: ir.Value, batch: ir.Value, many: bool) -> ir.Value:
    """One target per row of the gradient, int64: one for all images, one per image, or if `many` any for one image.

    Other numbers are an error at run time: in the Expand, or in the Reshape, since Expand accepts several targets, and
    none, for one image.
    """
    rows = branch.Max(batch, branch.Shape(target)) if many else batch
    return branch.Reshape(branch.Expand(target, batch), rows)


def _shaped(branch: Branch, seed: ir.Value, value: ir.Value) -> ir.Value:
    shape = dims(value)
    return seed if len(shape) == 2 else branch.Reshape(seed, [-1, *shape[1:]])


def _in_dequantized_units(branch: Branch, gradient: ir.Value, tap: ir.Value) -> ir.Value:
    """d target / d integers → d target / d features, with features = (integers − z) · s."""
    scale = dequantizer_of(tap).inputs[1]
    assert scale is not None
    return branch.Div(gradient, branch.forward(scale))


def _subgraph(branch: Branch, output: ir.Value) -> ir.Graph:
    return ir.Graph(inputs=[], outputs=[output], nodes=branch.nodes, name=f"{output.name}_graph")
