"""Products with weights: Conv, Gemm, MatMul."""

from __future__ import annotations

import onnx_ir as ir

from onnxplain.exporters.graph.values import dims, static_dims
from onnxplain.exporters.operators.site import Gradients, Site
from onnxplain.exporters.operators.window import (
    Window,
    read_transposed_window,
    read_window,
    transposed_padding,
)


def conv(at: Site, g: ir.Value) -> Gradients:
    """Y = X ⋆ W: dX is the full correlation of dY with W, flipped in space and with its channel axes swapped.

    Stride 1 is written as a Conv, which costs as much as the forward one. Larger strides are written as ConvTranspose.
    """
    if at.needs(1) or at.needs(2):
        raise at.refuse("its weight or bias depends on the layer")
    return [conv_by_input(at, g, at.value(1), at.input(1)), None, None]


def conv_by_input(at: Site, g: ir.Value, weight: ir.Value, inside: ir.Value) -> ir.Value:
    """dX of a Conv-like node. `weight` gives the shape; `inside` is its content as float32 in the branch."""
    weight_dims = static_dims(weight, tuple(range(len(dims(weight)))))
    window = read_window(at, weight_dims[2:])
    g, factor = at.branch.unscaled(g)
    if factor is not None:
        # A batch normalization follows the convolution: ONNX Runtime folds this product when it loads the file.
        inside = at.branch.Mul(inside, at.branch.Unsqueeze(factor, list(range(1, len(weight_dims)))))
    fits = all(e > b and e > f for e, b, f in zip(window.extent, window.pads_begin, window.pads_end, strict=True))
    if set(window.strides) == {1} and fits:
        return _conv_of_flipped(at, g, window, weight_dims, inside)
    return _conv_transpose(at, g, window, inside)


def _conv_of_flipped(at: Site, g: ir.Value, window: Window, weight_dims: tuple[int, ...], weight: ir.Value) -> ir.Value:
    op, group = at.branch, at.attribute("group", 1)
    maps_out, channels_per_group = weight_dims[:2]
    flipped = [axis for axis, size in enumerate(window.kernel, start=2) if size > 1]
    if flipped:
        minus_one, lowest = [-1] * len(flipped), [-(2**31)] * len(flipped)
        weight = op.Slice(weight, minus_one, lowest, flipped, minus_one)
    if group == 1:
        weight = op.Transpose(weight, perm=[1, 0, *range(2, len(weight_dims))])
    else:
        # [M, C/g, …] → [g, M/g, C/g, …] → [g, C/g, M/g, …] → [C, M/g, …]
        weight = op.Reshape(weight, [group, maps_out // group, channels_per_group, *window.kernel])
        weight = op.Transpose(weight, perm=[0, 2, 1, *range(3, len(weight_dims) + 1)])
        weight = op.Reshape(weight, [group * channels_per_group, maps_out // group, *window.kernel])
    pads = [
        *(e - 1 - p for e, p in zip(window.extent, window.pads_begin, strict=True)),
        *(e - 1 - p for e, p in zip(window.extent, window.pads_end, strict=True)),
    ]
    return op.Conv(g, weight, group=group, pads=pads, dilations=list(window.dilations))


def _conv_transpose(at: Site, g: ir.Value, window: Window, weight: ir.Value) -> ir.Value:
    size_in, size_out = at.spatial(at.value(0)), at.spatial(at.node.outputs[0])
    pads, output_padding = transposed_padding(window, size_in, size_out)
    return at.branch.ConvTranspose(
        g,
        weight,
        group=at.attribute("group", 1),
        strides=list(window.strides),
        dilations=list(window.dilations),
        pads=pads,
        output_padding=output_padding,
    )


def gemm(at: Site, g: ir.Value) -> Gradients:
    """Y = α A′B′ + β C with A′ = A or Aᵀ: dA′ = α dY B′ᵀ, dB′ = α A′ᵀ dY, dC = β dY."""
    op = at.branch
    alpha, beta = at.attribute("alpha", 1.0), at.attribute("beta", 1.0)
    trans_a, trans_b = at.attribute("transA", 0), at.attribute("transB", 0)
    da = db = dc = None
    if at.needs(0):
        b = at.input(1)
        if trans_a:
            da = op.Gemm(b, g, alpha=alpha, transA=trans_b, transB=1)
        else:
            da = op.Gemm(g, b, alpha=alpha, transB=1 - trans_b)
    if at.needs(1):
        a = at.input(0)
        if trans_b:
            db = op.Gemm(g, a, alpha=alpha, transA=1, transB=trans_a)
        else:
            db = op.Gemm(a, g, alpha=alpha, transA=1 - trans_a)
    if at.needs(2):
        dc = g if beta == 1.0 else op.Mul(g, float(beta))
    return [da, db, dc]


def conv_transpose(at: Site, g: ir.Value) -> Gradients:
    """Y = the transpose of a convolution applied to X: dX is that convolution of dY, with the same weight."""
    if at.needs(1) or at.needs(2):
        raise at.refuse("its weight or bias depends on the layer")
    weight_dims = static_dims(at.value(1), tuple(range(len(at.input_dims(1)))))
    window = read_transposed_window(at, weight_dims[2:])
    dx = at.branch.Conv(
        g,
        at.input(1),
        group=at.attribute("group", 1),
        strides=list(window.strides),
        dilations=list(window.dilations),
        pads=[*window.pads_begin, *window.pads_end],
    )
    return [dx, None, None]


def matmul(at: Site, g: ir.Value) -> Gradients:
    """Y = A B over the last two axes, the leading ones broadcast: dA = dY Bᵀ, dB = Aᵀ dY.

    A vector counts as a matrix of one row (A) or one column (B), as in numpy.
    """
    rank_a, rank_b = len(at.input_dims(0)), len(at.input_dims(1))
    op = at.branch
    if rank_a == 1:
        g = op.Unsqueeze(g, [-2] if rank_b > 1 else [0])
    if rank_b == 1:
        g = op.Unsqueeze(g, [-1])
    da = db = None
    if at.needs(0):
        b = op.Unsqueeze(at.input(1), [-1]) if rank_b == 1 else at.input(1)
        da = op.MatMul(g, _transposed(at, b, max(rank_b, 2)))
        if rank_a == 1:
            da = op.Squeeze(da, [-2])
    if at.needs(1):
        a = op.Unsqueeze(at.input(0), [0]) if rank_a == 1 else at.input(0)
        db = op.MatMul(_transposed(at, a, max(rank_a, 2)), g)
        if rank_b == 1:
            db = op.Squeeze(db, [-1])
    return [da, db]


def _transposed(at: Site, value: ir.Value, rank: int) -> ir.Value:
    return at.branch.Transpose(value, perm=[*range(rank - 2), rank - 1, rank - 2])


def rotary_embedding(at: Site, g: ir.Value) -> Gradients:
    """Y = pairs of X rotated by the angles of cos and sin: dX is dY rotated back.

    Its function body in onnx cannot be used: it computes on shapes in a way that shape inference cannot follow.
    """
    if at.needs(1) or at.needs(2):
        raise at.refuse("its angles depend on the layer")
    op, rank = at.branch, len(at.input_dims(1))
    angles = [at.input(1), op.Neg(at.input(2))]
    if at.has_input(3):
        positions = [at.raw_per_row(3, g)]
    else:
        # Without positions the angles are given per image.
        positions, angles = [], [at.repeat_rows(angle, rank, g) for angle in angles]
    operands = [g, *angles, *positions]
    return [*at.branch.repeat(at.node, operands), *[None] * (len(at.node.inputs) - 1)]
