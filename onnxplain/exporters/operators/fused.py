"""ONNX Runtime's fused operators of the domain com.microsoft, written in standard ones.

ONNX Runtime's optimiser writes them into the files that it saves. Definitions: ONNX Runtime's docs/ContribOperators.md.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import onnx_ir as ir

from onnxplain.errors import UnsupportedError
from onnxplain.exporters.graph.branch import Branch
from onnxplain.exporters.graph.values import attribute, constant_of, describe, dims, int_attribute, static_dims


def fused_conv(op: Branch, node: ir.Node) -> Sequence[ir.Value]:
    """Conv, plus the optional fourth input, then an optional activation."""
    own = {"activation", "activation_params"}
    attributes = {name: attr.value for name, attr in node.attributes.items() if name not in own}
    (value,) = op.emit("Conv", list(node.inputs[:3]), attributes)
    if len(node.inputs) > 3 and node.inputs[3] is not None:
        value = op.Add(value, node.inputs[3])
    activation = str(attribute(node, "activation", ""))
    parameters = [float(p) for p in node.attributes.get_floats("activation_params", ())]
    if activation == "Clip":
        return [op.Clip(value, parameters[0], parameters[1])]
    return [
        _activated(op, node, value, activation, dict(zip(ACTIVATIONS.get(activation, ()), parameters, strict=False)))
    ]


# The activations that ONNX Runtime fuses into a product, and the names of their parameters.
ACTIVATIONS: Mapping[str, Sequence[str]] = {
    "Elu": ("alpha",),
    "HardSigmoid": ("alpha", "beta"),
    "LeakyRelu": ("alpha",),
    "Relu": (),
    "Selu": ("alpha", "gamma"),
    "Sigmoid": (),
    "Softplus": (),
    "Softsign": (),
    "Tanh": (),
    "ThresholdedRelu": ("alpha",),
}


def _activated(
    op: Branch, node: ir.Node, value: ir.Value, activation: str, parameters: Mapping[str, float]
) -> ir.Value:
    if not activation:
        return value
    if activation not in ACTIVATIONS:
        raise UnsupportedError(f"no gradient for {describe(node)}: its activation {activation}")
    (result,) = op.emit(activation, [value], parameters)
    return result


def fused_gemm(op: Branch, node: ir.Node) -> Sequence[ir.Value]:
    """Gemm, an activation."""
    prefix = "activation_"
    own = {name: attr.value for name, attr in node.attributes.items() if not name.startswith(prefix.rstrip("_"))}
    (value,) = op.emit("Gemm", node.inputs, own)
    activation = str(attribute(node, "activation", ""))
    given = {name: node.attributes.get_float(prefix + name, None) for name in ACTIVATIONS.get(activation, ())}
    return [_activated(op, node, value, activation, {name: p for name, p in given.items() if p is not None})]


def expand_dims(op: Branch, node: ir.Node) -> Sequence[ir.Value]:
    """Unsqueeze with one axis, an int32 scalar."""
    axis = None if node.inputs[1] is None else constant_of(node.inputs[1])
    if axis is None:
        raise UnsupportedError(f"no gradient for {describe(node)}: its axis is computed at run time")
    return [op.Unsqueeze(node.inputs[0], [axis.item()])]


def under_standard_name(op: Branch, node: ir.Node) -> Sequence[ir.Value]:
    """The standard operator of the same name, inputs and attributes, which is younger."""
    return op.repeat(node, node.inputs)


def nhwc_max_pool(op: Branch, node: ir.Node) -> Sequence[ir.Value]:
    """MaxPool of [N, h, w, C]."""
    first = op.Transpose(node.inputs[0], perm=[0, 3, 1, 2])
    (pooled,) = op.emit("MaxPool", [first], {name: attr.value for name, attr in node.attributes.items()})
    return [op.Transpose(pooled, perm=[0, 2, 3, 1])]


def matmul_integer_to_float(op: Branch, node: ir.Node) -> Sequence[ir.Value]:
    """(A − a₀)(B − b₀) · s_a s_b + bias; inputs: A, B, s_a, s_b, a₀, b₀, bias."""
    a, b, a_scale, b_scale, a_zero, b_zero, bias = (*node.inputs, *[None] * 3)[:7]
    return [scaled_product(op, (a, b, a_zero, b_zero), op.Mul(a_scale, b_scale), bias)]


def dynamic_quantize_matmul(op: Branch, node: ir.Node) -> Sequence[ir.Value]:
    """As MatMulIntegerToFloat, of an A that is quantized at run time; inputs: A, B, s_b, b₀, bias."""
    a, b, b_scale, b_zero, bias = (*node.inputs, *[None] * 2)[:5]
    quantized, a_scale, a_zero = op.emit("DynamicQuantizeLinear", [a], {}, outputs=3)
    return [scaled_product(op, (quantized, b, a_zero, b_zero), op.Mul(a_scale, b_scale), bias)]


def scaled_product(op: Branch, operands: Sequence[ir.Value | None], scale: ir.Value, bias: ir.Value | None) -> ir.Value:
    """(A − a₀)(B − b₀) · scale + bias; operands: A, B, a₀, b₀."""
    product = op.Mul(op.Cast(op.MatMulInteger(*operands), to=ir.DataType.FLOAT), scale)
    return product if bias is None else op.Add(product, bias)


def gelu(op: Branch, node: ir.Node) -> Sequence[ir.Value]:
    """x · (1 + erf(x / √2)) / 2."""
    return [_erf_gelu(op, node.inputs[0])]


def bias_gelu(op: Branch, node: ir.Node) -> Sequence[ir.Value]:
    """Gelu of x + bias."""
    return [_erf_gelu(op, op.Add(node.inputs[0], node.inputs[1]))]


def _erf_gelu(op: Branch, x: ir.Value | None) -> ir.Value:
    return op.Mul(x, op.Mul(op.Add(op.Erf(op.Mul(x, 0.7071067811865476)), 1.0), 0.5))


def fast_gelu(op: Branch, node: ir.Node) -> Sequence[ir.Value]:
    """x · (1 + tanh(√(2/π) (x + 0.044715 x³))) / 2 of x + bias."""
    x = node.inputs[0]
    if len(node.inputs) > 1 and node.inputs[1] is not None:
        x = op.Add(x, node.inputs[1])
    cubic = op.Add(x, op.Mul(op.Mul(op.Mul(x, x), x), 0.044715))
    return [op.Mul(x, op.Mul(op.Add(op.Tanh(op.Mul(cubic, 0.7978845608028654)), 1.0), 0.5))]


def quick_gelu(op: Branch, node: ir.Node) -> Sequence[ir.Value]:
    """x · sigmoid(α x)."""
    alpha = attribute(node, "alpha", 1.702)
    assert isinstance(alpha, float)
    return [op.Mul(node.inputs[0], op.Sigmoid(op.Mul(node.inputs[0], alpha)))]


def skip_layer_normalization(op: Branch, node: ir.Node) -> Sequence[ir.Value | None]:
    """LayerNormalization of input + skip + bias; the fourth output is that sum."""
    x, skip, gamma, beta, bias = (*node.inputs, None, None)[:5]
    total = op.Add(x, skip)
    if bias is not None:
        total = op.Add(total, bias)
    epsilon = attribute(node, "epsilon", 1e-12)
    operands = [total, gamma, *([] if beta is None else [beta])]
    return [op.LayerNormalization(*operands, axis=-1, epsilon=epsilon), None, None, total][: len(node.outputs)]


def simplified_layer_normalization(op: Branch, node: ir.Node) -> Sequence[ir.Value | None]:
    """γ x / √(mean(x²) + ε) over the axes from `axis` on."""
    x, gamma = node.inputs[:2]
    assert x is not None
    normal = _by_root_mean_square(op, node, x, x, int_attribute(node, "axis", -1), 1e-5)
    return [op.Mul(normal, gamma), *[None] * (len(node.outputs) - 1)]


def skip_simplified_layer_normalization(op: Branch, node: ir.Node) -> Sequence[ir.Value | None]:
    """The same of input + skip + bias; the fourth output is that sum."""
    x, skip, gamma, bias = (*node.inputs, None)[:4]
    assert x is not None
    total = op.Add(x, skip)
    if bias is not None:
        total = op.Add(total, bias)
    normal = _by_root_mean_square(op, node, total, x, -1, 1e-5)
    return [op.Mul(normal, gamma), None, None, total][: len(node.outputs)]


def _by_root_mean_square(
    op: Branch, node: ir.Node, value: ir.Value, like: ir.Value, axis: int, epsilon: float
) -> ir.Value:
    """`value`, which has the shape of `like`, over the root of its mean square."""
    rank = len(dims(like))
    axes = list(range(axis % rank, rank))
    size = math.prod(static_dims(like, tuple(axes)))
    square = op.Mul(op.ReduceSum(op.Mul(value, value), axes, keepdims=1), 1.0 / size)
    return op.Div(value, op.Sqrt(op.Add(square, node.attributes.get_float("epsilon", epsilon))))


def fused_matmul(op: Branch, node: ir.Node) -> Sequence[ir.Value]:
    """α · A′B′ of the two factors, each transposed as its flags say.

    transBatchA: A is [M, …, K], its rows in front of the axes of the batch. transA: its last two axes are swapped.
    """
    operands = []
    for source, letter in zip(node.inputs, "AB", strict=False):
        assert source is not None and source.shape is not None
        rank = len(source.shape)
        order = list(range(rank))
        if attribute(node, f"transBatch{letter}", 0):
            order = [*order[1:-1], order[0], order[-1]]
        if attribute(node, f"trans{letter}", 0):
            order = [*order[:-2], order[-1], order[-2]]
        operands.append(source if order == list(range(rank)) else op.Transpose(source, perm=order))
    alpha = attribute(node, "alpha", 1.0)
    assert isinstance(alpha, float)
    return [op.Mul(op.MatMul(*operands), alpha)]
