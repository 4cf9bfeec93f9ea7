"""Arithmetic and activations; each works on one entry at a time.

A derivative is computed from the output if possible: ONNX Runtime cannot fuse the activation into the convolution
before it if the gradient reads the input.
"""

from __future__ import annotations

import numpy as np
import onnx_ir as ir

from onnxplain.exporters.graph.values import FLOATS
from onnxplain.exporters.operators.site import Gradients, Site


def add(at: Site, g: ir.Value) -> Gradients:
    """Y = A + B: both gradients are dY."""
    return [g, g]


def sub(at: Site, g: ir.Value) -> Gradients:
    """Y = A − B: dA = dY, dB = −dY."""
    return [g, at.branch.Neg(g) if at.needs(1) else None]


def mul(at: Site, g: ir.Value) -> Gradients:
    """Y = A · B: dA = dY · B, dB = dY · A."""
    return [at.branch.Mul(g, at.input(1 - index)) if at.needs(index) else None for index in (0, 1)]


def div(at: Site, g: ir.Value) -> Gradients:
    """Y = A / B: dA = dY / B, dB = −dY · Y / B."""
    op = at.branch
    da = op.Div(g, at.input(1)) if at.needs(0) else None
    db = op.Neg(op.Div(op.Mul(g, at.output()), at.input(1))) if at.needs(1) else None
    return [da, db]


def relu(at: Site, g: ir.Value) -> Gradients:
    """Y = max(X, 0): dX = dY where Y > 0, and 0 at X = 0 as in PyTorch."""
    op = at.branch
    return [op.Where(op.Greater(at.output(), 0.0), g, 0.0)]


def clip(at: Site, g: ir.Value) -> Gradients:
    """Y = min(max(X, low), high): dX = dY strictly between the bounds (PyTorch's hardtanh and relu6)."""
    op, y = at.branch, at.output()
    inside = None
    for index, compare in ((1, op.Greater), (2, op.Less)):
        if at.needs(index):
            raise at.refuse("a bound depends on the layer")
        if not at.has_input(index):
            continue
        bound = at.constant(index)
        if bound is not None and abs(float(bound)) >= float(np.finfo(np.float32).max):
            continue
        within = compare(y, at.input(index))
        inside = within if inside is None else op.And(inside, within)
    return [g if inside is None else op.Where(inside, g, 0.0)]


def softmax(at: Site, g: ir.Value) -> Gradients:
    """Y = softmax(X) along `axis`: dX = Y · (dY − Σ dY · Y)."""
    op, y = at.branch, at.output()
    axis = at.attribute("axis", -1)
    inner = op.ReduceSum(op.Mul(g, y), [axis], keepdims=1)
    return [op.Mul(y, op.Sub(g, inner))]


def log_softmax(at: Site, g: ir.Value) -> Gradients:
    """Y = log softmax(X) along `axis`: dX = dY − e^Y Σ dY."""
    op = at.branch
    total = op.ReduceSum(g, [at.attribute("axis", -1)], keepdims=1)
    return [op.Sub(g, op.Mul(op.Exp(at.output()), total))]


def identity(at: Site, g: ir.Value) -> Gradients:
    """Y = X."""
    return [g]


def dropout(at: Site, g: ir.Value) -> Gradients:
    """Y = X at inference. A Dropout in training mode is refused."""
    training = at.constant(2)
    if at.has_input(2) and (training is None or bool(training)):
        raise at.refuse("it is in training mode")
    return [g, None, None]


def cast(at: Site, g: ir.Value) -> Gradients:
    """Y = X up to rounding: the gradient passes, but not into a cast to integer, which is a step.

    It passes through a cast from integer. The operator that made the integer then decides: a quantized product has a
    gradient, a shape has none.
    """
    rounds = at.value(0).dtype in FLOATS and at.node.outputs[0].dtype not in FLOATS
    return [None if rounds else g]
