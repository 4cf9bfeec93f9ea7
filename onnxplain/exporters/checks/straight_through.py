"""Quantized operators of a witness, replaced by their straight-through form.

q = q₀ + [q₀ not saturated] · (change of the unrounded value), where q₀ is the value in one run.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import onnx.defs
import onnx_ir as ir

from onnxplain.errors import OnnxplainError, UnsupportedError
from onnxplain.exporters.checks.operator_facts import RANGES, Operand, QuantizedForm
from onnxplain.exporters.checks.witness_builder import WitnessBuilder
from onnxplain.exporters.graph.values import FLOATS, constant_of, describe, dims, int_attribute, name_of

FIRST_SOFTMAX_OF_ONE_AXIS = 13


def add_straight_through(witness: WitnessBuilder, node: ir.Node, form: QuantizedForm, gates: bool) -> None:
    """Append the straight-through form of a quantized node. `gates`: its result can saturate.

    y₀ + [y₀ not saturated] · (f(A, …) − f(A₀, …)) / s. f is the float operator, A its dequantized operands, s the
    scale of the result; y₀ and A₀ are the values of the run. A bias drops out of the difference. If the operator does
    not round, the form is f(A, …).

    Raises UnsupportedError for a form of the operator that the float operator does not have.
    """
    _check_attributes(node)
    out = node.outputs[0]
    y, prefix = name_of(out), f"{name_of(out)}/straight"
    if not form.is_rounded:
        _emit_twin(witness, node, form, witness.input, y)
        return
    _emit_twin(witness, node, form, witness.input, f"{prefix}/now")
    _emit_twin(witness, node, form, witness.capture, f"{prefix}/then")
    witness.emit("Sub", [f"{prefix}/now", f"{prefix}/then"], f"{prefix}/dy")
    if out.dtype in FLOATS:
        # A QGemm without a scale for its result: it does not round.
        witness.emit("Add", [witness.capture(out), f"{prefix}/dy"], y)
        return
    witness.emit("Div", [f"{prefix}/dy", _result_scale(witness, node, form)], f"{prefix}/dq")
    if gates:
        _add_unsaturated(witness, node, f"{prefix}/dq")
    else:
        witness.emit("Add", [witness.capture(out), f"{prefix}/dq"], y)


def _check_attributes(node: ir.Node) -> None:
    if int_attribute(node, "channels_last", 0):
        raise UnsupportedError(f"no gradient for {describe(node)}: channels_last")
    if int_attribute(node, "opset", FIRST_SOFTMAX_OF_ONE_AXIS) < FIRST_SOFTMAX_OF_ONE_AXIS:
        raise UnsupportedError(f"no gradient for {describe(node)}: a Softmax as before opset 13")


def _emit_twin(
    witness: WitnessBuilder, node: ir.Node, form: QuantizedForm, bring: Callable[[ir.Value], str], output: str
) -> None:
    """The float operator on the dequantized operands, with the attributes of the node that it has too."""
    operands = [
        _dequantized(witness, node, operand, bring, f"{output}/{operand.integers}")
        for operand in form.operands_of(node)
    ]
    known = onnx.defs.get_schema(form.twin).attributes
    attributes = {name: entry.value for name, entry in node.attributes.items() if name in known}
    witness.emit(form.twin, operands, output, **attributes)


def _dequantized(
    witness: WitnessBuilder, node: ir.Node, operand: Operand, bring: Callable[[ir.Value], str], name: str
) -> str:
    """(q − z) · s."""
    integers = node.inputs[operand.integers]
    assert integers is not None
    known = constant_of(integers)
    result = bring(integers) if known is None else witness.constant(known, name, "operand")
    axis, rank = operand.axis(node), len(dims(integers))
    zero, scale = _input(node, operand.zero), _input(node, operand.scale)
    if zero is not None:
        # The zero point of an operand that was quantized at run time comes from the run.
        known = constant_of(zero)
        number = witness.capture(zero) if known is None else witness.constant(_along(known, axis, rank), name, "zero")
        witness.emit("Sub", [result, number], f"{name}/centred")
        result = f"{name}/centred"
    if scale is not None:
        number = witness.constant(_along(_known_scale(node, scale), axis, rank), name, "scale")
        witness.emit("Mul", [result, number], f"{name}/float")
        result = f"{name}/float"
    return result


def _result_scale(witness: WitnessBuilder, node: ir.Node, form: QuantizedForm) -> str:
    out = node.outputs[0]
    if form.computed_scale is not None:
        return witness.capture(node.outputs[form.computed_scale])
    scale = _known_scale(node, _input(node, form.result_scale))
    # Only QuantizeLinear has a vector of scales here.
    return witness.constant(_along(scale, int_attribute(node, "axis", 1), len(dims(out))), name_of(out), "scale")


def _add_unsaturated(witness: WitnessBuilder, node: ir.Node, change: str) -> None:
    """q = q₀ + [q₀ not saturated] · change."""
    out = node.outputs[0]
    prefix, q0 = f"{name_of(out)}/straight", witness.capture(out)
    limits = None if out.dtype is None else RANGES.get(out.dtype)
    if limits is None:
        expected = " or ".join(str(dtype) for dtype in RANGES)
        raise UnsupportedError(
            f"no gradient for {describe(node)}: its result has type {out.dtype}, expected {expected}"
        )
    low, high = limits
    witness.emit("Greater", [q0, witness.constant(low, prefix, "low")], f"{prefix}/above")
    witness.emit("Less", [q0, witness.constant(high, prefix, "high")], f"{prefix}/below")
    witness.emit("And", [f"{prefix}/above", f"{prefix}/below"], f"{prefix}/inside")
    zero = witness.constant(0.0, prefix, "none")
    witness.emit("Where", [f"{prefix}/inside", change, zero], f"{prefix}/passed")
    witness.emit("Add", [witness.hold(out), f"{prefix}/passed"], name_of(out))


def _input(node: ir.Node, position: int | None) -> ir.Value | None:
    """An optional input; None if it is missing."""
    return node.inputs[position] if position is not None and position < len(node.inputs) else None


def _known_scale(node: ir.Node, value: ir.Value | None) -> np.ndarray:
    scale = constant_of(value)
    if scale is None:
        raise OnnxplainError(f"a scale of {node.name or node.op_type} is computed at run time: choose a later layer")
    return scale


def _along(numbers: np.ndarray, axis: int, rank: int) -> np.ndarray:
    """Scales or zero points, float64, reshaped to broadcast: one for all, one per slice along `axis`, or any array."""
    numbers = numbers.astype(np.float64)
    if numbers.size == 1:
        return numbers.reshape(())
    if numbers.ndim > 1:
        return numbers
    shape = [1] * rank
    shape[axis] = -1
    return numbers.reshape(shape)
