"""The gradient of one logit, started before the last product with weights.

A one-hot cotangent of the logits is zero except for one class. The general rules would multiply it by the weights of
all classes. If the logits are means of class maps (a 1 × 1 convolution, a Relu, pooling), that costs as much as the
convolution itself. But the result is only one row of the weights, so that row is gathered instead.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import onnx_ir as ir

from onnxplain.exporters.anatomy.pooled_head import is_full_pool
from onnxplain.exporters.graph.branch import Branch
from onnxplain.exporters.graph.values import (
    FLOATS,
    STANDARD,
    dims,
    int_attribute,
    is_constant,
    maybe_dims,
    producer_of,
)
from onnxplain.exporters.operators.operator import Hands
from onnxplain.exporters.operators.table import hands_on


@dataclass(frozen=True)
class LastProduct:
    """``logit_c = row c of weights · source + bias_c``; if `source` is a map, the mean of this over space.

    `source` is [N, K] or [N, K, h, w]. `weights` have the classes along `classes_axis`; `scale` is a factor of the
    weights. `rectified`: a Relu is applied to the class maps before the mean.
    """

    source: ir.Value
    weights: ir.Value
    classes_axis: int
    scale: float
    bias: ir.Value | None
    rectified: bool


def find_last_product(logits: ir.Value, classes: int, layer: ir.Value) -> LastProduct | None:
    """The product that computes the logits; None if other operators than reshaping, a mean or a Relu follow it.

    Also None if `layer` comes after it: the gradient at `layer` does not pass through `source`.
    """
    value, pooled, rectified = logits, False, False
    while value is not layer:
        node = producer_of(value)
        source = node.inputs[0] if node is not None and node.inputs and node.domain in STANDARD else None
        if node is None or source is None or is_constant(value):
            return None
        if node.op_type in ("Gemm", "MatMul", "Conv"):
            return _read_product(node, classes, pooled=pooled, rectified=rectified)
        if node.op_type == "Relu" and pooled and not rectified:
            rectified = True
        elif is_full_pool(node) and not pooled:
            pooled = True
        elif not _only_reshapes(node, source):
            return None
        value = source
    return None


def _only_reshapes(node: ir.Node, source: ir.Value) -> bool:
    """Whether a node only passes its input on, possibly in another shape with the same batch."""
    if node.op_type == "Identity":
        return True
    if not hands_on(node, Hands.RESHAPED):
        return False
    before, after = maybe_dims(source), maybe_dims(node.outputs[0])
    return before is not None and after is not None and before[:1] == after[:1]


def _read_product(node: ir.Node, classes: int, *, pooled: bool, rectified: bool) -> LastProduct | None:
    source, weights = node.inputs[:2]
    assert source is not None
    if weights is None or weights.dtype not in FLOATS or not is_constant(weights):
        return None
    bias = node.inputs[2] if len(node.inputs) > 2 else None
    if bias is not None and not is_constant(bias):
        # ONNX Runtime can merge a sum after a product into the product as its bias. The bias is then a second path.
        return None
    source_dims, weight_dims = maybe_dims(source), maybe_dims(weights)
    if source_dims is None or weight_dims is None or not all(isinstance(size, int) for size in source_dims[1:]):
        return None
    classes_axis, scale = 0, 1.0
    if node.op_type == "Conv":
        space = math.prod(int(size) for size in source_dims[2:])
        everywhere = set(node.attributes.get_ints("strides", ())) <= {1} and not any(
            node.attributes.get_ints("pads", ())
        )
        pointwise = everywhere and int_attribute(node, "group", 1) == 1 and weight_dims[2:] == (1, 1)
        if not pointwise or len(source_dims) != 4 or (space > 1) != pooled:
            return None
    else:
        if pooled or len(source_dims) != 2 or len(weight_dims) != 2 or int_attribute(node, "transA", 0):
            return None
        classes_axis = 0 if int_attribute(node, "transB", 0) else 1
        scale = node.attributes.get_float("alpha", 1.0) if node.op_type == "Gemm" else 1.0
    if weight_dims[classes_axis] != classes:
        return None
    return LastProduct(source, weights, classes_axis, scale, bias, rectified)


def seed_source(branch: Branch, product: LastProduct, chosen: ir.Value, share: ir.Value | None = None) -> ir.Value:
    """The gradient of the logits of the classes `chosen` with respect to `source`, float32, in its shape.

    `chosen` is int64 [N]. `share`, float32 [N], scales the gradient of each image. ONNX Runtime raises an error for a
    class that does not exist.
    """
    row = _gather(branch, product.weights, chosen, product.classes_axis)
    if product.classes_axis == 1:
        row = branch.Transpose(row, perm=[1, 0])
    if product.scale != 1.0:
        row = branch.Mul(row, product.scale)
    source_dims = dims(product.source)
    maps, *size_hw = (int(size) for size in source_dims[1:])
    if share is not None:
        row = branch.Mul(row, branch.Reshape(share, [-1, *[1] * (len(source_dims) - 1)]))
    positions = math.prod(size_hw)
    if positions == 1:
        return row
    if not product.rectified:
        return branch.Expand(branch.Mul(row, 1.0 / positions), [1, 1, *size_hw])
    class_map = branch.MatMul(
        branch.Reshape(row, [-1, 1, maps]), branch.Reshape(branch.forward(product.source), [-1, maps, positions])
    )
    if product.bias is not None:
        class_map = branch.Add(class_map, branch.Reshape(_gather(branch, product.bias, chosen, 0), [-1, 1, 1]))
    passes = branch.Where(branch.Greater(class_map, 0.0), 1.0 / positions, 0.0)
    return branch.Reshape(branch.MatMul(branch.Reshape(row, [-1, maps, 1]), passes), [-1, maps, *size_hw])


def _gather(branch: Branch, constant: ir.Value, chosen: ir.Value, axis: int) -> ir.Value:
    """Some rows of a constant as float32; only the chosen rows are cast."""
    rows = branch.Gather(branch.raw(constant), chosen, axis=axis)
    return rows if constant.dtype == ir.DataType.FLOAT else branch.Cast(rows, to=ir.DataType.FLOAT)
