"""Reductions along axes.

Norms and logarithms of sums have function bodies in onnx, but those cannot be used. They overflow in cases where the
operator does not (LogSumExp), have no derivative if a norm is zero, and do not exist before opset 18; float16 files are
not raised that far.
"""

from __future__ import annotations

import math

import onnx_ir as ir

from onnxplain.exporters.graph.values import reduced_axes, static_dims
from onnxplain.exporters.operators.site import Gradients, Site


def _axes(at: Site) -> tuple[int, ...]:
    axes = reduced_axes(at.node, len(at.input_dims()))
    if axes is None:
        raise at.refuse("its axes are computed at run time")
    return axes


def _kept(at: Site, value: ir.Value) -> ir.Value:
    """A value in the output's shape, with the reduced axes added back as size 1."""
    return value if at.attribute("keepdims", 1) else at.branch.Unsqueeze(value, list(_axes(at)))


def reduce_sum(at: Site, g: ir.Value) -> Gradients:
    """Y = Σ X: dY repeated along the axes."""
    return [at.expand_to_input(_kept(at, g), _axes(at)), None]


def reduce_mean(at: Site, g: ir.Value) -> Gradients:
    """Y = mean of X: dY / count, repeated along the axes."""
    count = math.prod(static_dims(at.value(0), _axes(at)))
    return [at.expand_to_input(_kept(at, at.branch.Mul(g, 1.0 / count)), _axes(at)), None]


def reduce_extreme(at: Site, g: ir.Value) -> Gradients:
    """Y = max or min of X: dY goes to the position that won, in equal parts if several did."""
    op = at.branch
    if not _axes(at):
        return [g, None]
    won = op.Cast(op.Equal(at.input(0), _kept(at, at.output())), to=ir.DataType.FLOAT)
    winners = op.ReduceSum(won, list(_axes(at)), keepdims=1)
    return [op.Mul(won, op.Div(_kept(at, g), winners)), None]


def reduce_prod(at: Site, g: ir.Value) -> Gradients:
    """Y = Π X: dX_i = dY · Π of the others, also where one of them is zero."""
    op, x, axes = at.branch, at.input(0), list(_axes(at))
    if not axes:
        return [g, None]
    is_zero = op.Equal(x, 0.0)
    zeros = op.ReduceSum(op.Cast(is_zero, to=ir.DataType.FLOAT), axes, keepdims=1)
    nonzero = op.Where(is_zero, 1.0, x)
    product = op.ReduceProd(nonzero, axes, keepdims=1)
    of_others = op.Where(
        is_zero,
        op.Where(op.Equal(zeros, 1.0), product, 0.0),
        op.Where(op.Equal(zeros, 0.0), op.Div(product, nonzero), 0.0),
    )
    return [op.Mul(_kept(at, g), of_others), None]


def reduce_l1(at: Site, g: ir.Value) -> Gradients:
    """Y = Σ |X|: dX = dY sign(X)."""
    return [at.branch.Mul(_kept(at, g), at.branch.Sign(at.input(0))), None]


def reduce_l2(at: Site, g: ir.Value) -> Gradients:
    """Y = √(Σ X²): dX = dY X / Y, and 0 where the norm is 0 as in PyTorch."""
    op, y = at.branch, at.output()
    share = op.Where(op.Greater(y, 0.0), op.Div(g, y), 0.0)
    return [op.Mul(_kept(at, share), at.input(0)), None]


def reduce_sum_square(at: Site, g: ir.Value) -> Gradients:
    """Y = Σ X²: dX = 2 dY X."""
    return [at.branch.Mul(_kept(at, at.branch.Mul(g, 2.0)), at.input(0)), None]


def reduce_log_sum(at: Site, g: ir.Value) -> Gradients:
    """Y = log Σ X: dX = dY e^−Y."""
    op = at.branch
    return [at.expand_to_input(_kept(at, op.Mul(g, op.Exp(op.Neg(at.output())))), _axes(at)), None]


def reduce_log_sum_exp(at: Site, g: ir.Value) -> Gradients:
    """Y = log Σ e^X: dX = dY e^(X − Y)."""
    op = at.branch
    return [op.Mul(_kept(at, g), op.Exp(op.Sub(at.input(0), _kept(at, at.output())))), None]
