"""Quantization, differentiated with the clipped straight-through estimator.

Rounding has derivative zero almost everywhere. It is treated as the identity (Bengio et al. 2013, arXiv:1308.3432), and
the gradient is zero if the integer saturates (Esser et al. 2020, arXiv:1902.08153, eq. 3). Quantized files write ReLU
and ReLU6 as a QuantizeLinear that saturates.
"""

from __future__ import annotations

from collections.abc import Mapping

import onnx_ir as ir

from onnxplain.exporters.gradient.rules.linear import conv_by_input
from onnxplain.exporters.graph.values import static_dims
from onnxplain.exporters.operators.site import Gradients, Site

# Smallest and largest value of each type that QuantizeLinear rounds to.
QUANTIZED_RANGES: Mapping[ir.DataType, tuple[int, int]] = {
    ir.DataType.UINT2: (0, 3),
    ir.DataType.INT2: (-2, 1),
    ir.DataType.UINT4: (0, 15),
    ir.DataType.INT4: (-8, 7),
    ir.DataType.UINT8: (0, 255),
    ir.DataType.INT8: (-128, 127),
    ir.DataType.UINT16: (0, 65535),
    ir.DataType.INT16: (-32768, 32767),
}


def quantize_linear(at: Site, g: ir.Value) -> Gradients:
    """q = saturate(round(x / s) + z): dx = dq / s where q lies strictly inside its range."""
    if at.needs(1):
        raise at.refuse("its scale depends on the layer")
    return [_straight_through(at, g, _per_axis(at, 1)), None, None]


def dequantize_linear(at: Site, g: ir.Value) -> Gradients:
    """y = (q − z) s: dq = dy · s."""
    if at.needs(1):
        raise at.refuse("its scale depends on the layer")
    return [at.branch.Mul(g, _per_axis(at, 1)), None, None]


def dynamic_quantize_linear(at: Site, g: ir.Value) -> Gradients:
    """As QuantizeLinear, with scale and zero point treated as constants: dx = dq / s.

    The range comes from the values themselves: the largest is at the end of the range, but no value is outside.
    """
    if at.cotangents[0] is None:
        return [None]
    return [at.branch.Div(g, at.branch.forward(at.node.outputs[1]))]


def conv_integer(at: Site, g: ir.Value) -> Gradients:
    """Y = (X − x₀) ⋆ (W − w₀) in integers: dX as of a Conv with the weight W − w₀."""
    weight = _minus_zero_point(at, 1, 3, axis=0)
    return [conv_by_input(at, g, at.value(1), weight), None, None, None]


def matmul_integer(at: Site, g: ir.Value) -> Gradients:
    """Y = (A − a₀)(B − b₀) in integers: dA = dY (B − b₀)ᵀ, dB = (A − a₀)ᵀ dY."""
    op = at.branch
    da = op.MatMul(g, _last_axes_swapped(at, _minus_zero_point(at, 1, 3, axis=-1), 1)) if at.needs(0) else None
    db = op.MatMul(_last_axes_swapped(at, _minus_zero_point(at, 0, 2, axis=-2), 0), g) if at.needs(1) else None
    return [da, db, None, None]


def qlinear_conv(at: Site, g: ir.Value) -> Gradients:
    """Y = saturate(round((X − x₀) sₓ ⋆ (W − w₀) s_w / s_y) + y₀), inputs X sₓ x₀ W s_w w₀ s_y y₀ B."""
    op = at.branch
    passed = _straight_through(at, g, at.input(6))
    weight = op.Mul(_minus_zero_point(at, 3, 5, axis=0), _along(at, 4, axis=0, of=3))
    gradient = op.Mul(conv_by_input(at, passed, at.value(3), weight), at.input(1))
    return [gradient, *[None] * (len(at.node.inputs) - 1)]


def qlinear_matmul(at: Site, g: ir.Value) -> Gradients:
    """Y = saturate(round((A − a₀) s_a (B − b₀) s_b / s_y) + y₀), inputs A s_a a₀ B s_b b₀ s_y y₀.

    Scale and zero point of A are one number or one per row, those of B one number or one per column.
    """
    op = at.branch
    passed = _straight_through(at, g, at.input(6))
    da = db = None
    if at.needs(0):
        b = op.Mul(_minus_zero_point(at, 3, 5, axis=-1), _along(at, 4, axis=-1, of=3))
        da = op.Mul(op.MatMul(passed, _last_axes_swapped(at, b, 3)), _along(at, 1, axis=-2, of=0))
    if at.needs(3):
        a = op.Mul(_minus_zero_point(at, 0, 2, axis=-2), _along(at, 1, axis=-2, of=0))
        db = op.Mul(op.MatMul(_last_axes_swapped(at, a, 0), passed), _along(at, 4, axis=-1, of=3))
    return [da, None, None, db, None, None, None, None]


def _straight_through(at: Site, g: ir.Value, scale: ir.Value) -> ir.Value:
    """dY / s where the quantized output lies strictly inside its range, else 0."""
    op = at.branch
    dtype = at.node.outputs[0].dtype
    if dtype is None or dtype not in QUANTIZED_RANGES:
        raise at.refuse(f"its result has type {dtype}, expected an integer of 2 to 16 bits")
    low, high = QUANTIZED_RANGES[dtype]
    q = op.Cast(op.raw(at.node.outputs[0]), to=ir.DataType.FLOAT)
    inside = op.And(op.Greater(q, float(low)), op.Less(q, float(high)))
    return op.Where(inside, op.Div(g, scale), 0.0)


def _minus_zero_point(at: Site, index: int, zero_index: int, axis: int | None = None) -> ir.Value:
    """An integer operand as float32, minus its zero point."""
    op = at.branch
    value = op.Cast(at.raw(index), to=ir.DataType.FLOAT)
    if not at.has_input(zero_index):
        return value
    zero = op.Cast(at.raw(zero_index), to=ir.DataType.FLOAT)
    return op.Sub(value, zero if axis is None else _shaped(at, zero, zero_index, axis, index))


def _along(at: Site, index: int, axis: int, of: int) -> ir.Value:
    """A scale of operand `of`, one number or one per slice along `axis`, shaped to broadcast with it."""
    return _shaped(at, at.input(index), index, axis, of)


def _shaped(at: Site, factor: ir.Value, index: int, axis: int, of: int) -> ir.Value:
    """Input `index`, brought into the branch as `factor`: a vector along `axis` of operand `of`."""
    if len(at.input_dims(index)) != 1 or at.input_dims(index) == (1,):
        return factor
    rank = len(at.input_dims(of))
    return at.branch.Unsqueeze(factor, [other for other in range(rank) if other != axis % rank])


def _last_axes_swapped(at: Site, value: ir.Value, index: int) -> ir.Value:
    rank = len(at.input_dims(index))
    return at.branch.Transpose(value, perm=[*range(rank - 2), rank - 1, rank - 2])


def _per_axis(at: Site, index: int) -> ir.Value:
    """The scale, shaped to broadcast: one number, one per slice along the quantized axis, or one per block of it."""
    scale, scale_rank, rank = at.input(index), len(at.input_dims(index)), len(at.input_dims())
    block = at.attribute("block_size", 0)
    if block:
        axis = at.attribute("axis", 1) % rank
        (size,) = static_dims(at.value(0), (axis,))
        return at.branch.repeat_blocks(scale, at.input_dims(index), axis, block, size)
    if scale_rank == 0 or at.input_dims(index) == (1,):
        return at.branch.Reshape(scale, [1] * rank) if scale_rank else scale
    axis = at.attribute("axis", 1) % rank
    return at.branch.Unsqueeze(scale, [other for other in range(rank) if other != axis])
