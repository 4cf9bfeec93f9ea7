"""Expansions of ONNX Runtime's quantized operators: dequantize, a standard operator on floats, quantize.

Files quantized in the QOperator form consist of QLinearAdd, QGemm and similar operators. Their gradients are then the
straight-through gradients of DequantizeLinear and QuantizeLinear (docs/ContribOperators.md of ONNX Runtime).
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import onnx_ir as ir

from onnxplain.errors import UnsupportedError
from onnxplain.exporters.graph.branch import Branch
from onnxplain.exporters.graph.values import describe, dims, int_attribute
from onnxplain.exporters.operators.operator import Integers

# Attributes of these operators that the standard operators do not have.
OWN_ATTRIBUTES = frozenset({"channels_last", "opset"})
FIRST_SOFTMAX_OF_ONE_AXIS = 13


def write_out(op: Branch, node: ir.Node, twin: str, integers: Integers) -> Sequence[ir.Value]:
    """The node in standard operators: dequantize, compute, quantize. A bias is omitted: gradients do not need it."""
    places = integers.operands_of(node)
    operands = [op.DequantizeLinear(*quantized(op, node, index), axis=slices_axis(node, twin)) for index in places]
    channels_last = bool(int_attribute(node, "channels_last", 0))
    source = node.inputs[places[0]]
    if channels_last:
        assert source is not None
        rank = len(dims(source))
        operands[0] = op.Transpose(operands[0], perm=[0, rank - 1, *range(1, rank - 1)])
    kept = [node.inputs[index] for index in integers.kept]
    (result,) = op.emit(twin, [*kept, *operands], _attributes_of_twin(node))
    if channels_last:
        result = op.Transpose(result, perm=[0, *range(2, rank), 1])
    if integers.result is None or not is_given(node, integers.result):
        return [result]
    scale, zero = parameters(op, node, integers.result, source)
    return [op.QuantizeLinear(result, scale, zero)]


def _attributes_of_twin(node: ir.Node) -> dict[str, object]:
    """The node's attributes as the standard operator has them."""
    if int_attribute(node, "opset", FIRST_SOFTMAX_OF_ONE_AXIS) < FIRST_SOFTMAX_OF_ONE_AXIS:
        raise UnsupportedError(f"no gradient for {describe(node)}: a Softmax as before opset 13")
    return {name: attr.value for name, attr in node.attributes.items() if name not in OWN_ATTRIBUTES}


def is_given(node: ir.Node, index: int) -> bool:
    """Whether an optional input is given."""
    return index < len(node.inputs) and node.inputs[index] is not None


def quantized(op: Branch, node: ir.Node, index: int) -> tuple[ir.Value, ir.Value, ir.Value]:
    """Integers, scale, zero point."""
    integers = node.inputs[index]
    if integers is None:
        raise UnsupportedError(f"no gradient for {describe(node)}: its input {index} is missing")
    return integers, *parameters(op, node, index + 1, integers)


def parameters(op: Branch, node: ir.Node, index: int, like: ir.Value | None) -> tuple[ir.Value, ir.Value]:
    """Scale and zero point; a missing zero point is 0 in the type of `like`."""
    scale = node.inputs[index]
    if scale is None or like is None or like.dtype is None:
        raise UnsupportedError(f"no gradient for {describe(node)}: its input {index} is missing")
    zero = node.inputs[index + 1] if is_given(node, index + 1) else None
    return scale, op.constant(np.zeros((), like.dtype.numpy())) if zero is None else zero


def slices_axis(node: ir.Node, twin: str) -> int:
    """Where a scale is a vector, the axis of its slices: the output channels of a weight."""
    return 0 if twin == "Conv" or int_attribute(node, "transB", 0) else 1
