"""Functions that ONNX Runtime computes on quantized operands: QLinearAdd, QGemm and others of the domain com.microsoft.

Files quantized in the QOperator form consist of them. Each stands for a standard operator between DequantizeLinear and
QuantizeLinear, whose straight-through gradients are then its own (docs/ContribOperators.md of ONNX Runtime).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import onnx_ir as ir

from onnxplain.errors import UnsupportedError
from onnxplain.exporters.graph.branch import Branch
from onnxplain.exporters.graph.values import describe, int_attribute

# Attributes of these operators that the standard ones do not have.
OWN_ATTRIBUTES = frozenset({"channels_last", "opset"})
FIRST_SOFTMAX_OF_ONE_AXIS = 13


@dataclass(frozen=True)
class QuantizedFunction:
    """`operator` of the dequantized operands, quantized.

    `operands` are the positions of the integers among the node's inputs (None: every third from the third on);
    `result` is that of the output's scale. A scale or zero point stands one place behind.
    """

    operator: str
    operands: tuple[int, ...] | None
    result: int

    def operands_of(self, node: ir.Node) -> Sequence[int]:
        """Positions of the integers that the node reads."""
        return range(2, len(node.inputs), 3) if self.operands is None else self.operands

    def attributes_of(self, node: ir.Node) -> dict[str, object]:
        """The node's attributes as the standard operator has them."""
        if int_attribute(node, "channels_last", 0):
            raise UnsupportedError(f"no gradient for {describe(node)}: channels_last")
        if int_attribute(node, "opset", FIRST_SOFTMAX_OF_ONE_AXIS) < FIRST_SOFTMAX_OF_ONE_AXIS:
            raise UnsupportedError(f"no gradient for {describe(node)}: a Softmax as before opset 13")
        return {name: attr.value for name, attr in node.attributes.items() if name not in OWN_ATTRIBUTES}


QUANTIZED_FUNCTIONS: Mapping[str, QuantizedFunction] = {
    "QGemm": QuantizedFunction("Gemm", (0, 3), 7),
    "QLinearAdd": QuantizedFunction("Add", (0, 3), 6),
    "QLinearAveragePool": QuantizedFunction("AveragePool", (0,), 3),
    "QLinearConcat": QuantizedFunction("Concat", None, 0),
    "QLinearGlobalAveragePool": QuantizedFunction("GlobalAveragePool", (0,), 3),
    "QLinearLeakyRelu": QuantizedFunction("LeakyRelu", (0,), 3),
    "QLinearMul": QuantizedFunction("Mul", (0, 3), 6),
    "QLinearSigmoid": QuantizedFunction("Sigmoid", (0,), 3),
    "QLinearSoftmax": QuantizedFunction("Softmax", (0,), 3),
}


def write_out(op: Branch, node: ir.Node) -> Sequence[ir.Value]:
    """The node in standard operators: dequantize, compute, quantize. QGemm's bias is left out: it has no derivative."""
    function = QUANTIZED_FUNCTIONS[node.op_type]
    operands = [
        op.DequantizeLinear(*quantized(op, node, index), axis=slices_axis(node)) for index in function.operands_of(node)
    ]
    (result,) = op.emit(function.operator, operands, function.attributes_of(node))
    if not is_given(node, function.result):
        return [result]
    scale, zero = parameters(op, node, function.result, node.inputs[function.operands_of(node)[0]])
    return [op.QuantizeLinear(result, scale, zero)]


def is_given(node: ir.Node, index: int) -> bool:
    """Whether an optional input is there."""
    return index < len(node.inputs) and node.inputs[index] is not None


def quantized(op: Branch, node: ir.Node, index: int) -> tuple[ir.Value, ir.Value, ir.Value]:
    """Integers, scale, zero point."""
    integers = node.inputs[index]
    if integers is None:
        raise UnsupportedError(f"no gradient for {describe(node)}: its input {index} is missing")
    return integers, *parameters(op, node, index + 1, integers)


def parameters(op: Branch, node: ir.Node, index: int, like: ir.Value | None) -> tuple[ir.Value, ir.Value]:
    """Scale and zero point; one that is left out is 0 of the type of `like`."""
    scale = node.inputs[index]
    if scale is None or like is None or like.dtype is None:
        raise UnsupportedError(f"no gradient for {describe(node)}: its input {index} is missing")
    zero = node.inputs[index + 1] if is_given(node, index + 1) else None
    return scale, op.constant(np.zeros((), like.dtype.numpy())) if zero is None else zero


def slices_axis(node: ir.Node) -> int:
    """Where a scale is a vector, the axis of its slices: the columns of QGemm's weight."""
    return 0 if int_attribute(node, "transB", 0) else 1
