"""Quantizing operators of a tail as what straight-through means.

q = q₀ + [q₀ not saturated] · (change of the unrounded value), around the values of one run.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import numpy as np
import onnx_ir as ir

from onnxplain.errors import OnnxplainError
from onnxplain.exporters.checks.witness_builder import TailBuilder, scale_and_zero
from onnxplain.exporters.gradient.rules.quantization import quantized_range
from onnxplain.exporters.graph.values import FLOATS, constant_of, dims, name_of
from onnxplain.exporters.operators.quantized_functions import QUANTIZED_FUNCTIONS, is_given, slices_axis


def _quantize(tail: TailBuilder, node: ir.Node) -> None:
    scale, _ = scale_and_zero(node)
    change = _change(tail, node, tail.constant(scale, name_of(node.outputs[0]), "scale"))
    _add_unsaturated(tail, node.outputs[0], change)


def _dequantize(tail: TailBuilder, node: ir.Node) -> None:
    y = name_of(node.outputs[0])
    scale, zero = scale_and_zero(node)
    tail.emit("Sub", [tail.input(node.inputs[0]), tail.constant(zero, y, "zero")], f"{y}/centred")
    tail.emit("Mul", [f"{y}/centred", tail.constant(scale, y, "scale")], y)


def _dynamic_quantize(tail: TailBuilder, node: ir.Node) -> None:
    """q₀ + (x − x₀) / s: nothing lies beyond the range, and scale and zero point stay those of the run."""
    change = _change(tail, node, tail.capture(node.outputs[1]))
    tail.emit("Add", [tail.capture(node.outputs[0]), change], name_of(node.outputs[0]))


def _change(tail: TailBuilder, node: ir.Node, scale: str) -> str:
    """(x − x₀) / s."""
    source, prefix = node.inputs[0], f"{name_of(node.outputs[0])}/straight"
    assert source is not None
    tail.emit("Sub", [tail.input(source), tail.capture(source)], f"{prefix}/dx")
    tail.emit("Div", [f"{prefix}/dx", scale], f"{prefix}/dq")
    return f"{prefix}/dq"


def _add_unsaturated(tail: TailBuilder, out: ir.Value, change: str) -> None:
    """q = q₀ + [q₀ not saturated] · change."""
    prefix, q0 = f"{name_of(out)}/straight", tail.capture(out)
    low, high = quantized_range(out.dtype)
    tail.emit("Greater", [q0, tail.constant(low, prefix, "low")], f"{prefix}/above")
    tail.emit("Less", [q0, tail.constant(high, prefix, "high")], f"{prefix}/below")
    tail.emit("And", [f"{prefix}/above", f"{prefix}/below"], f"{prefix}/inside")
    zero = tail.constant(0.0, prefix, "none")
    tail.emit("Where", [f"{prefix}/inside", change, zero], f"{prefix}/passed")
    tail.emit("Add", [tail.hold(out), f"{prefix}/passed"], name_of(out))


def _integer_product(tail: TailBuilder, node: ir.Node) -> None:
    """ConvInteger, MatMulInteger: the product of the centred operands. Inputs A B a₀ b₀."""
    left = _centred(tail, node, 0, 2, tail.input)
    _product(tail, node, [left, _centred(tail, node, 1, 3, tail.input)], name_of(node.outputs[0]))


def _quantized_product(tail: TailBuilder, node: ir.Node) -> None:
    """QLinearConv, QLinearMatMul: q₀ + [q₀ not saturated] · (A B − A₀ B₀) s_a s_b / s_y.

    Inputs A s_a a₀ B s_b b₀ s_y y₀ and, of a convolution, a bias, which is no part of a change.
    """
    prefix = f"{name_of(node.outputs[0])}/straight"
    products = []
    for role, bring in (("now", tail.input), ("then", tail.capture)):
        left, right = _centred(tail, node, 0, 2, bring), _centred(tail, node, 3, 5, bring)
        _product(tail, node, [left, right], f"{prefix}/{role}")
        products.append(f"{prefix}/{role}")
    scales = [constant_of(node.inputs[index]) for index in (1, 4, 6)]
    rank = len(dims(node.outputs[0]))
    first, second, last = (_along_channels(node, scale, rank, axis=1) for scale in scales)
    tail.emit("Sub", products, f"{prefix}/dy")
    tail.emit("Mul", [f"{prefix}/dy", tail.constant(first * second / last, prefix, "scale")], f"{prefix}/dq")
    _add_unsaturated(tail, node.outputs[0], f"{prefix}/dq")


def _quantized_function(tail: TailBuilder, node: ir.Node) -> None:
    """QLinearAdd, QGemm and the like: y₀ + [y₀ not saturated] · (f(A, B) − f(A₀, B₀)) / s_y, of dequantized A and B.

    Where QGemm has no scale for its result, that is float: y₀ + f(A, B) − f(A₀, B₀).
    """
    function, out = QUANTIZED_FUNCTIONS[node.op_type], node.outputs[0]
    prefix = f"{name_of(out)}/straight"
    for role, bring in (("now", tail.input), ("then", tail.capture)):
        operands = [_dequantized(tail, node, index, bring) for index in function.operands_of(node)]
        tail.emit(function.operator, operands, f"{prefix}/{role}", **function.attributes_of(node))
    tail.emit("Sub", [f"{prefix}/now", f"{prefix}/then"], f"{prefix}/dy")
    if out.dtype in FLOATS:
        tail.emit("Add", [tail.capture(out), f"{prefix}/dy"], name_of(out))
        return
    scale = _slices(node, constant_of(node.inputs[function.result]), 0)
    tail.emit("Div", [f"{prefix}/dy", tail.constant(scale, prefix, "scale")], f"{prefix}/dq")
    _add_unsaturated(tail, out, f"{prefix}/dq")


def _dequantized(tail: TailBuilder, node: ir.Node, index: int, bring: Callable[[ir.Value], str]) -> str:
    """(q − z) · s."""
    integers = node.inputs[index]
    assert integers is not None
    name, rank = f"{name_of(node.outputs[0])}/{index}{bring.__name__}", len(dims(integers))
    known = constant_of(integers)
    source = bring(integers) if known is None else tail.constant(known, name, "operand")
    if is_given(node, index + 2):
        zero = tail.constant(_slices(node, constant_of(node.inputs[index + 2]), rank), name, "zero")
        tail.emit("Sub", [source, zero], f"{name}/centred")
        source = f"{name}/centred"
    scale = tail.constant(_slices(node, constant_of(node.inputs[index + 1]), rank), name, "scale")
    tail.emit("Mul", [source, scale], f"{name}/float")
    return f"{name}/float"


def _slices(node: ir.Node, number: np.ndarray | None, rank: int) -> np.ndarray:
    """A scale or zero point: one, or one per column of a weight."""
    if number is None:
        raise OnnxplainError(f"a scale of {node.name or node.op_type} is computed at run time: choose a later layer")
    if number.size == 1:
        return number.reshape(()).astype(np.float64)
    shape = [1] * rank
    shape[slices_axis(node)] = -1
    return number.astype(np.float64).reshape(shape)


def _product(tail: TailBuilder, node: ir.Node, operands: Sequence[str], output: str) -> None:
    kind = "Conv" if "Conv" in node.op_type else "MatMul"
    tail.emit(kind, operands, output, **{name: attr.value for name, attr in node.attributes.items()})


def _centred(tail: TailBuilder, node: ir.Node, index: int, zero_index: int, bring: Callable[[ir.Value], str]) -> str:
    """An integer operand minus its zero point."""
    operand = node.inputs[index]
    assert operand is not None
    zero_value = node.inputs[zero_index] if zero_index < len(node.inputs) else None
    name = f"{name_of(node.outputs[0])}/{index}{bring.__name__}"
    known = constant_of(operand)
    source = bring(operand) if known is None else tail.constant(known, name, "operand")
    if zero_value is None:
        return source
    zero = constant_of(zero_value)
    if zero is None:
        origin = tail.capture(zero_value)
    else:
        origin = tail.constant(_along_channels(node, zero, len(dims(operand)), axis=0), name, "zero")
    tail.emit("Sub", [source, origin], f"{name}/centred")
    return f"{name}/centred"


def _along_channels(node: ir.Node, number: np.ndarray | None, rank: int, axis: int) -> np.ndarray:
    """A scale or zero point: one, or one per output channel of a convolution, which lie along `axis`."""
    if number is None:
        raise OnnxplainError(f"a scale of {node.name or node.op_type} is computed at run time: choose a later layer")
    if number.size == 1:
        return number.reshape(()).astype(np.float64)
    if "MatMul" in node.op_type:
        # Per column of the right operand.
        return number.astype(np.float64)
    shape = [1] * rank
    shape[axis] = -1
    return number.astype(np.float64).reshape(shape)


STRAIGHT_THROUGH: Mapping[str, Callable[[TailBuilder, ir.Node], None]] = {
    "ConvInteger": _integer_product,
    "DequantizeLinear": _dequantize,
    "DynamicQuantizeLinear": _dynamic_quantize,
    "MatMulInteger": _integer_product,
    "QLinearConv": _quantized_product,
    "QLinearMatMul": _quantized_product,
    "QuantizeLinear": _quantize,
    **dict.fromkeys(QUANTIZED_FUNCTIONS, _quantized_function),
}
