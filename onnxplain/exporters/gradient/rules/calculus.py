"""Functions of one variable: one row each with its derivative, in the order of a calculus book.

Each row gives dY/dX in terms of the input x or the output y. The output is preferred: ONNX Runtime cannot fuse the
function into the operator before it if the gradient reads the input.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping

import onnx_ir as ir

from onnxplain.exporters.operators.site import Gradients, Rule, Site

Derivative = Callable[[Site], ir.Value]


def _of_output(formula: Callable[[Site, ir.Value], ir.Value]) -> Derivative:
    return lambda at: formula(at, at.output())


def _of_input(formula: Callable[[Site, ir.Value], ir.Value]) -> Derivative:
    return lambda at: formula(at, at.input(0))


def _step(at: Site, value: ir.Value, above: float | ir.Value, below: float | ir.Value) -> ir.Value:
    """`above` where the value is positive, else `below`."""
    op = at.branch
    return op.Where(op.Greater(value, 0.0), above, below)


def _exp(at: Site, y: ir.Value) -> ir.Value:
    return y


def _tanh(at: Site, y: ir.Value) -> ir.Value:
    return at.branch.Sub(1.0, at.branch.Mul(y, y))


def _sigmoid(at: Site, y: ir.Value) -> ir.Value:
    return at.branch.Mul(y, at.branch.Sub(1.0, y))


def _softplus(at: Site, x: ir.Value) -> ir.Value:
    # 1 − e^−y is the same, but for very negative x it cancels to zero in float32.
    return at.branch.Sigmoid(x)


def _softsign(at: Site, x: ir.Value) -> ir.Value:
    # 1 / (1 + |x|)²; (1 − |y|)² would cancel for large x.
    return at.branch.Div(1.0, _square(at, at.branch.Add(1.0, at.branch.Abs(x))))


def _elu(at: Site) -> ir.Value:
    # α e^x = y + α on the negative side
    y, alpha = at.output(), float(at.attribute("alpha", 1.0))
    return _step(at, _with_sign(at, alpha >= 0), 1.0, at.branch.Add(y, alpha))


def _selu(at: Site) -> ir.Value:
    y = at.output()
    alpha, gamma = float(at.attribute("alpha", 1.6732632)), float(at.attribute("gamma", 1.0507010))
    return _step(at, _with_sign(at, alpha >= 0 and gamma > 0), gamma, at.branch.Add(y, alpha * gamma))


def _leaky_relu(at: Site) -> ir.Value:
    alpha = float(at.attribute("alpha", 0.01))
    return _step(at, _with_sign(at, alpha >= 0), 1.0, alpha)


def _with_sign(at: Site, rising: bool) -> ir.Value:
    """A value that is positive where the input is: the output, if the function rises on its negative side."""
    return at.output() if rising else at.input(0)


def _hard_sigmoid(at: Site, y: ir.Value) -> ir.Value:
    op = at.branch
    inside = op.And(op.Greater(y, 0.0), op.Less(y, 1.0))
    return op.Where(inside, float(at.attribute("alpha", 0.2)), 0.0)


def _hard_swish(at: Site, x: ir.Value) -> ir.Value:
    # x · min(max(x / 6 + 1/2, 0), 1): 0 up to −3, x / 3 + 1/2 between, 1 from 3 on
    op = at.branch
    inner = op.Add(op.Mul(x, 1.0 / 3.0), 0.5)
    return op.Where(op.Less(x, 3.0), op.Where(op.Greater(x, -3.0), inner, 0.0), 1.0)


def _thresholded_relu(at: Site, x: ir.Value) -> ir.Value:
    return at.branch.Where(at.branch.Greater(x, float(at.attribute("alpha", 1.0))), 1.0, 0.0)


def _erf(at: Site, x: ir.Value) -> ir.Value:
    # 2 / √π · e^(−x²)
    op = at.branch
    return op.Mul(op.Exp(op.Neg(op.Mul(x, x))), 2.0 / math.sqrt(math.pi))


def _one_over(at: Site, value: ir.Value) -> ir.Value:
    return at.branch.Div(1.0, value)


def _square(at: Site, value: ir.Value) -> ir.Value:
    return at.branch.Mul(value, value)


def _root(at: Site, value: ir.Value) -> ir.Value:
    return at.branch.Sqrt(value)


DERIVATIVES: Mapping[str, Derivative] = {
    "Abs": _of_input(lambda at, x: at.branch.Sign(x)),
    "Neg": lambda at: at.branch.constant_scalar(-1.0),
    "Reciprocal": _of_output(lambda at, y: at.branch.Neg(_square(at, y))),
    "Sqrt": _of_output(lambda at, y: at.branch.Div(0.5, y)),
    "Exp": _of_output(_exp),
    "Log": _of_input(_one_over),
    "Erf": _of_input(_erf),
    "Sin": _of_input(lambda at, x: at.branch.Cos(x)),
    "Cos": _of_input(lambda at, x: at.branch.Neg(at.branch.Sin(x))),
    "Tan": _of_output(lambda at, y: at.branch.Add(1.0, _square(at, y))),
    "Asin": _of_input(lambda at, x: _one_over(at, _root(at, at.branch.Sub(1.0, _square(at, x))))),
    "Acos": _of_input(lambda at, x: at.branch.Neg(_one_over(at, _root(at, at.branch.Sub(1.0, _square(at, x)))))),
    "Atan": _of_input(lambda at, x: _one_over(at, at.branch.Add(1.0, _square(at, x)))),
    "Sinh": _of_input(lambda at, x: at.branch.Cosh(x)),
    "Cosh": _of_input(lambda at, x: at.branch.Sinh(x)),
    "Tanh": _of_output(_tanh),
    "Asinh": _of_input(lambda at, x: _one_over(at, _root(at, at.branch.Add(1.0, _square(at, x))))),
    "Acosh": _of_input(lambda at, x: _one_over(at, _root(at, at.branch.Sub(_square(at, x), 1.0)))),
    "Atanh": _of_input(lambda at, x: _one_over(at, at.branch.Sub(1.0, _square(at, x)))),
    "Sigmoid": _of_output(_sigmoid),
    "HardSigmoid": _of_output(_hard_sigmoid),
    "HardSwish": _of_input(_hard_swish),
    "Softplus": _of_input(_softplus),
    "Softsign": _of_input(_softsign),
    "Elu": _elu,
    "Selu": _selu,
    "LeakyRelu": _leaky_relu,
    "ThresholdedRelu": _of_input(_thresholded_relu),
}


def _rule(derivative: Derivative) -> Rule:
    def apply(at: Site, g: ir.Value) -> Gradients:
        return [at.branch.Mul(g, derivative(at))]

    return apply


CALCULUS: Mapping[str, Rule] = {operator: _rule(derivative) for operator, derivative in DERIVATIVES.items()}
