"""Operators that choose between their operands, and powers; each works on one entry at a time."""

from __future__ import annotations

import numpy as np
import onnx_ir as ir

from onnxplain.exporters.operators.site import Gradients, Site


def sum_of(at: Site, g: ir.Value) -> Gradients:
    """Y = Σ X_i: every gradient is dY."""
    return [g] * len(at.node.inputs)


def mean_of(at: Site, g: ir.Value) -> Gradients:
    """Y = Σ X_i / n: every gradient is dY / n."""
    return [at.branch.Mul(g, 1.0 / len(at.node.inputs))] * len(at.node.inputs)


def extreme(at: Site, g: ir.Value) -> Gradients:
    """Y = max or min of the inputs: dY goes to the input that won, in equal parts if several did."""
    op, y = at.branch, at.output()
    count = len(at.node.inputs)
    won = [op.Cast(op.Equal(at.input(index), y), to=ir.DataType.FLOAT) for index in range(count)]
    winners = won[0]
    for other in won[1:]:
        winners = op.Add(winners, other)
    share = op.Div(g, winners)
    return [op.Mul(share, won[index]) if at.needs(index) else None for index in range(count)]


def where(at: Site, g: ir.Value) -> Gradients:
    """Y = A where the condition holds, else B."""
    op, condition = at.branch, at.raw(0)
    da = op.Where(condition, g, 0.0) if at.needs(1) else None
    db = op.Where(condition, 0.0, g) if at.needs(2) else None
    return [None, da, db]


def power(at: Site, g: ir.Value) -> Gradients:
    """Y = A^B: dA = dY · B · A^(B−1) and 0 where B = 0, dB = dY · Y · ln A, taken as 0 where A ≤ 0."""
    op = at.branch
    da = db = None
    if at.needs(0):
        exponent = at.constant(1)
        if exponent is not None and exponent.size == 1 and float(exponent.reshape(())) == 2.0:
            da = op.Mul(g, op.Mul(at.input(0), 2.0))
        else:
            b = op.Cast(at.raw(1), to=ir.DataType.FLOAT)
            slope = op.Mul(b, op.Pow(at.input(0), op.Sub(b, 1.0)))
            if exponent is None or not np.all(exponent):
                # 0 · 0^−1 is not a number.
                slope = op.Where(op.Equal(b, 0.0), 0.0, slope)
            da = op.Mul(g, slope)
    if at.needs(1):
        a = at.input(0)
        positive = op.Greater(a, 0.0)
        logarithm = op.Where(positive, op.Log(op.Where(positive, a, 1.0)), 0.0)
        db = op.Mul(g, op.Mul(at.output(), logarithm))
    return [da, db]


def modulo(at: Site, g: ir.Value) -> Gradients:
    """Y = A mod B for a constant B: Y moves with A."""
    if at.needs(1):
        raise at.refuse("its divisor depends on the layer")
    return [g, None]


def prelu(at: Site, g: ir.Value) -> Gradients:
    """Y = X where X > 0, else slope · X."""
    op, x = at.branch, at.input(0)
    positive = op.Greater(x, 0.0)
    dx = op.Where(positive, g, op.Mul(g, at.input(1))) if at.needs(0) else None
    dslope = op.Where(positive, 0.0, op.Mul(g, x)) if at.needs(1) else None
    return [dx, dslope]
