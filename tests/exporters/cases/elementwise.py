"""Arithmetic and activations, one value at a time."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
import onnx

from tests.exporters.cases.values import real
from tests.exporters.graphs import OperatorCase


def _broadcasts(operator: str) -> Iterable[OperatorCase]:
    shapes = {
        "same": ((2, 3, 4), (2, 3, 4)),
        "channel": ((2, 3, 2, 2), (3, 1, 1)),
        "scalar": ((2, 3), ()),
        "left-grows": ((3, 1), (2, 3, 4)),
        "both-grow": ((2, 1, 3), (4, 1)),
    }
    for note, (left, right) in shapes.items():
        inputs = (real(*left), real(*right, low=0.5, high=2.0))
        # An open batch must be the same symbol on both sides: only where the first axes are the same axis.
        yield OperatorCase(operator, inputs, wrt=(0, 1), note=note, open_batch=note == "same")


ELEMENTWISE_CASES = (
    *(case for operator in ("Add", "Sub", "Mul", "Div") for case in _broadcasts(operator)),
    OperatorCase("Relu", (real(2, 3, 4),)),
    OperatorCase("Sigmoid", (real(2, 3, 4, low=-6, high=6),)),
    OperatorCase("Clip", (real(2, 12), np.array(-1.0), np.array(1.0))),
    OperatorCase("Clip", (real(2, 12), np.array(0.0), np.array(6.0)), note="relu6"),
    OperatorCase("Clip", (real(2, 12), np.array(-0.5)), note="lower"),
    OperatorCase("Clip", (real(2, 12), None, np.array(0.5)), note="upper"),
    OperatorCase("Clip", (real(2, 12),), note="no-bounds"),
    OperatorCase(
        "Clip", (real(2, 12), np.array(0.0), np.array(np.finfo(np.float32).max, np.float32)), note="highest-float"
    ),
    OperatorCase("Identity", (real(2, 3),)),
    OperatorCase("Cast", (real(2, 3),), {"to": onnx.TensorProto.DOUBLE}),
    OperatorCase("Dropout", (real(2, 3),)),
    OperatorCase("Dropout", (real(2, 3), np.array(0.5, np.float32), np.array(False)), outputs=("y", "mask")),
    *(OperatorCase("Softmax", (real(2, 4, 3),), {"axis": axis}) for axis in (1, 2, -1, -2)),
    OperatorCase("Softmax", (real(2, 5),), note="default-axis"),
    OperatorCase("Softmax", (real(3, 2),), {"axis": 0}, open_batch=False),
)

