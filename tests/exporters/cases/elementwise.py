"""Arithmetic and activations, one value at a time."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
import onnx

from tests.exporters.cases.values import positive, real
from tests.exporters.graphs import OperatorCase

HIGHEST = np.array(np.finfo(np.float32).max, np.float32)


def _broadcasts(operator: str) -> Iterable[OperatorCase]:
    shapes = {
        "same": ((2, 3, 4), (2, 3, 4)),
        "channel": ((2, 3, 2, 2), (3, 1, 1)),
        "scalar": ((4, 5), ()),
        "left-grows": ((3, 1), (2, 3, 4)),
        "both-grow": ((2, 1, 3), (4, 1)),
    }
    for note, (left, right) in shapes.items():
        # The left operand lies off the right one's grid: no ties for Max and Min, no steps for Mod.
        chooses = operator in ("Max", "Min")
        a, b = real(*left) + 1 / 32, real(*right, low=-0.25 if chooses else 0.5, high=0.75 if chooses else 2.0)
        if operator == "Pow":
            a = np.abs(a)
        wrt = (0,) if operator == "Mod" else (0, 1)
        # An open batch must be the same symbol on both sides: only where the first axes are the same axis.
        attributes = {"fmod": 1} if operator == "Mod" else {}
        yield OperatorCase(operator, (np.asarray(a), b), attributes, wrt, note, open_batch=note == "same")


def _several(operator: str) -> Iterable[OperatorCase]:
    inputs = (real(4, 5), real(4, 5) + 1 / 32, real(5) + 1 / 64)
    yield OperatorCase(operator, inputs[:1], note="one")
    yield OperatorCase(operator, inputs, wrt=(0, 1, 2), note="three", open_batch=False)
    if operator != "Mean":
        # The reference evaluator broadcasts the others only.
        yield OperatorCase(
            operator, (np.array([[-1.25], [0.75]]), real(1, 3) + 1 / 32), wrt=(0, 1), note="both-grow", open_batch=False
        )


ARITHMETIC_CASES = (
    *(case for operator in ("Add", "Sub", "Mul", "Div", "Pow", "Mod", "Max", "Min") for case in _broadcasts(operator)),
    *(case for operator in ("Max", "Min", "Sum", "Mean") for case in _several(operator)),
    *(
        OperatorCase("Pow", (real(2, 4), np.array(exponent)), note=f"to-the-{exponent}")
        for exponent in (2.0, 3.0, 1.0, -1.0, -2.0)
    ),
    OperatorCase("Pow", (real(2, 4), np.array(3, np.int64)), note="integer-exponent"),
    OperatorCase("Pow", (real(2, 4), np.array([2.0])), note="square-of-one-entry"),
    OperatorCase("Pow", (positive(2, 4), np.array(0.5)), note="root"),
    OperatorCase(
        "Pow", (positive(2, 3), np.array([0.5, 2.0, -1.5])), wrt=(0, 1), note="one-per-column", open_batch=False
    ),
    OperatorCase("Pow", (np.array(2.0), real(2, 3)), wrt=(1,), note="exponential"),
    OperatorCase("Where", (np.array([[True], [False]]), real(2, 3), real(3)), wrt=(1, 2), open_batch=False),
    OperatorCase("Where", (np.array([True, False, True]), real(2, 3), real(2, 3)), wrt=(1, 2)),
    OperatorCase("Where", (np.array([[True, False]]), real(2, 1), real()), wrt=(1, 2), note="grow", open_batch=False),
)

# Functions of one value, each on a range where it is smooth.
_SMOOTH = (
    "Abs",
    "Neg",
    "Exp",
    "Erf",
    "Sin",
    "Cos",
    "Sinh",
    "Cosh",
    "Tanh",
    "Asinh",
    "Atan",
    "Sigmoid",
    "Softplus",
    "Softsign",
)
_PIECEWISE = ("Elu", "HardSigmoid", "HardSwish", "Identity", "LeakyRelu", "Relu", "Selu", "ThresholdedRelu")

FUNCTION_CASES = (
    *(OperatorCase(operator, (real(2, 3, 4),)) for operator in (*_SMOOTH, *_PIECEWISE)),
    *(OperatorCase(operator, (real(24),), note="vector", open_batch=False) for operator in (*_SMOOTH, *_PIECEWISE)),
    *(OperatorCase(operator, (positive(2, 3, 4),)) for operator in ("Log", "Sqrt", "Reciprocal")),
    OperatorCase("Reciprocal", (-positive(2, 6),), note="negative"),
    *(OperatorCase(operator, (real(2, 6, low=-0.8, high=0.7),)) for operator in ("Asin", "Acos", "Atanh", "Tan")),
    OperatorCase("Tan", (real(2, 6, low=1.8, high=3.0),), note="second-branch"),
    OperatorCase("Acosh", (1.0 + positive(2, 6),)),
    OperatorCase("Sigmoid", (real(2, 3, 4, low=-6, high=6),), note="wide"),
    OperatorCase("Tanh", (real(2, 3, 4, low=-4, high=4),), note="wide"),
    OperatorCase("HardSigmoid", (real(2, 12, low=-4, high=4),), note="wide"),
    OperatorCase("HardSigmoid", (real(2, 12),), {"alpha": 0.5, "beta": 0.25}),
    OperatorCase("HardSwish", (real(2, 12, low=-5, high=5),), note="wide"),
    OperatorCase("Softplus", (real(2, 12, low=-6, high=6),), note="wide"),
    OperatorCase("Softsign", (real(2, 12, low=-6, high=6),), note="wide"),
    OperatorCase("Elu", (real(2, 12),), {"alpha": 0.25}),
    OperatorCase("Elu", (real(2, 12),), {"alpha": -0.5}, note="falls-then-rises"),
    OperatorCase("Selu", (real(2, 12),), {"alpha": 0.5, "gamma": 2.0}),
    OperatorCase("Selu", (real(2, 12),), {"alpha": 0.5, "gamma": -2.0}, note="falls"),
    OperatorCase("Selu", (real(2, 12),), {"alpha": -0.5, "gamma": 1.5}, note="falls-then-rises"),
    *(OperatorCase("LeakyRelu", (real(2, 12),), {"alpha": alpha}) for alpha in (0.2, 0.0, -0.5, 2.0)),
    *(OperatorCase("ThresholdedRelu", (real(2, 12),), {"alpha": alpha}) for alpha in (0.0, 0.5, -0.5)),
    OperatorCase("PRelu", (real(2, 3, 2, 2), real(3, 1, 1)), wrt=(0, 1), note="channel", open_batch=False),
    OperatorCase("PRelu", (real(2, 3, 4), real()), wrt=(0, 1), note="scalar"),
    OperatorCase("PRelu", (real(2, 8), real(2, 8)), wrt=(0, 1), note="same"),
    OperatorCase("PRelu", (real(2, 3, 2, 2), real(3, 1, 1)), note="channel"),
    OperatorCase("Clip", (real(2, 12), np.array(-1.0), np.array(1.0))),
    OperatorCase("Clip", (real(2, 12), np.array(0.0), np.array(6.0)), note="relu6"),
    OperatorCase("Clip", (real(2, 12), np.array(-0.5)), note="lower"),
    OperatorCase("Clip", (real(2, 12), None, np.array(0.5)), note="upper"),
    OperatorCase("Clip", (real(2, 12),), note="no-bounds"),
    OperatorCase("Clip", (real(2, 12), np.array(0.0), HIGHEST), note="highest-float"),
    OperatorCase("Cast", (real(2, 3),), {"to": onnx.TensorProto.DOUBLE}),
    OperatorCase("Dropout", (real(2, 3),)),
    OperatorCase("Dropout", (real(2, 3), np.array(0.5, np.float32), np.array(False)), outputs=("y", "mask")),
    *(
        OperatorCase(operator, (real(2, 4, 3),), {"axis": axis})
        for operator in ("Softmax", "LogSoftmax")
        for axis in (1, 2, -1, -2)
    ),
    *(OperatorCase(operator, (real(2, 5),), note="default-axis") for operator in ("Softmax", "LogSoftmax")),
    *(OperatorCase(operator, (real(3, 2),), {"axis": 0}, open_batch=False) for operator in ("Softmax", "LogSoftmax")),
)
