"""ONNX Runtime's fused operators of the domain com.microsoft, written in standard ones.

ONNX Runtime's optimiser writes them into the files that it saves. Definitions: ONNX Runtime's docs/ContribOperators.md.
"""

from __future__ import annotations

from collections.abc import Sequence

import onnx_ir as ir

from onnxplain.errors import UnsupportedError
from onnxplain.exporters.graph.branch import Branch
from onnxplain.exporters.graph.values import attribute, describe


def fused_conv(op: Branch, node: ir.Node) -> Sequence[ir.Value]:
    """Conv, plus the optional fourth input, then an optional activation."""
    own = {"activation", "activation_params"}
    attributes = {name: attr.value for name, attr in node.attributes.items() if name not in own}
    (value,) = op.emit("Conv", list(node.inputs[:3]), attributes)
    if len(node.inputs) > 3 and node.inputs[3] is not None:
        value = op.Add(value, node.inputs[3])
    activation = attribute(node, "activation", "")
    parameters = [float(p) for p in node.attributes.get_floats("activation_params", ())]
    if activation == "Clip":
        value = op.Clip(value, parameters[0], parameters[1])
    elif activation in ("LeakyRelu", "Elu"):
        value = getattr(op, activation)(value, alpha=parameters[0])
    elif activation == "HardSigmoid":
        value = op.HardSigmoid(value, alpha=parameters[0], beta=parameters[1])
    elif activation in ("Relu", "Sigmoid", "Tanh"):
        value = getattr(op, str(activation))(value)
    elif activation:
        raise UnsupportedError(f"no gradient for {describe(node)}: its activation {activation} is not supported")
    return [value]


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


def fused_matmul(op: Branch, node: ir.Node) -> Sequence[ir.Value]:
    """α · A′B′; A′ and B′ are A and B, with the last two axes swapped if transA or transB says so."""
    operands = []
    for source, flag in zip(node.inputs, ("transA", "transB"), strict=False):
        assert source is not None and source.shape is not None
        rank = len(source.shape)
        if attribute(node, flag, 0):
            operands.append(op.Transpose(source, perm=[*range(rank - 2), rank - 1, rank - 2]))
        else:
            operands.append(source)
    if attribute(node, "transBatchA", 0) or attribute(node, "transBatchB", 0):
        raise UnsupportedError(f"no gradient for {describe(node)}: transBatchA and transBatchB are not supported")
    alpha = attribute(node, "alpha", 1.0)
    assert isinstance(alpha, float)
    return [op.Mul(op.MatMul(*operands), alpha)]
