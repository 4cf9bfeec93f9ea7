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
from onnxplain.exporters.graph.values import (
    FLOATS,
    Dims,
    constant_of,
    describe,
    dims,
    int_attribute,
    is_constant,
    name_of,
)

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
        # Where the result has no scale: a QGemm, an operator that rounds its operand.
        witness.emit("Add", [witness.capture(out), f"{prefix}/dy"], y)
        return
    witness.emit("Div", [f"{prefix}/dy", _result_scale(witness, node, form)], f"{prefix}/dq")
    if gates:
        _add_unsaturated(witness, node, f"{prefix}/dq")
    else:
        witness.emit("Add", [witness.capture(out), f"{prefix}/dq"], y)


def _check_attributes(node: ir.Node) -> None:
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
    attributes = {name: entry.value for name, entry in node.attributes.items()}
    if form.domain:
        operands += [witness.input(node.inputs[position]) for position in form.behind]
        attributes["domain"] = form.domain
    else:
        known = onnx.defs.get_schema(form.twin).attributes
        attributes = {name: value for name, value in attributes.items() if name in known}
    kept = [node.inputs[position] for position in form.kept]
    others = ["" if value is None else witness.input(value) if is_constant(value) else bring(value) for value in kept]
    if not form.channels_last and not int_attribute(node, "channels_last", 0):
        witness.emit(form.twin, [*others, *operands], output, **attributes)
        return
    rank = len(dims(node.outputs[0]))
    witness.emit("Transpose", [operands[0]], f"{output}/channels_second", perm=[0, rank - 1, *range(1, rank - 1)])
    inputs = [*others, f"{output}/channels_second", *operands[1:]]
    witness.emit(form.twin, inputs, f"{output}/result_second", **attributes)
    witness.emit("Transpose", [f"{output}/result_second"], output, perm=[0, *range(2, rank), 1])


def _dequantized(
    witness: WitnessBuilder, node: ir.Node, operand: Operand, bring: Callable[[ir.Value], str], name: str
) -> str:
    """(q − z) · s."""
    integers = node.inputs[operand.integers]
    assert integers is not None
    known = constant_of(integers)
    result = bring(integers) if known is None else witness.constant(known, name, "operand")
    axis, shape = operand.axis(node), dims(integers)
    zero, scale = _input(node, operand.zero), _input(node, operand.scale)
    if zero is not None:
        # The zero point of an operand that was quantized at run time comes from the run.
        known = constant_of(zero)
        number = (
            witness.capture(zero) if known is None else witness.constant(_along(node, known, axis, shape), name, "zero")
        )
        witness.emit("Sub", [result, number], f"{name}/centred")
        result = f"{name}/centred"
    if scale is not None:
        # One that is computed at run time is that of the run, too.
        known = constant_of(scale)
        number = (
            witness.capture(scale)
            if known is None
            else witness.constant(_along(node, known, axis, shape), name, "scale")
        )
        witness.emit("Mul", [result, number], f"{name}/float")
        result = f"{name}/float"
    return result


def _result_scale(witness: WitnessBuilder, node: ir.Node, form: QuantizedForm) -> str:
    out = node.outputs[0]
    if form.computed_scale is not None:
        return witness.capture(node.outputs[form.computed_scale])
    scale = _known_scale(node, _input(node, form.result_scale))
    # A vector stands here for QuantizeLinear alone.
    return witness.constant(_along(node, scale, int_attribute(node, "axis", 1), dims(out)), name_of(out), "scale")


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


def _along(node: ir.Node, numbers: np.ndarray, axis: int, shape: Dims) -> np.ndarray:
    """Scales or zero points, float64, shaped to broadcast with integers of `shape`.

    One for all, one per slice along `axis`, one per block of it, or any array.
    """
    numbers, block = numbers.astype(np.float64), int_attribute(node, "block_size", 0)
    if numbers.size == 1:
        return numbers.reshape(())
    if block:
        size = shape[axis]
        assert isinstance(size, int), "a block has a size, and so has what it divides"
        return np.asarray(np.repeat(numbers, block, axis).take(range(size), axis))
    if numbers.ndim > 1:
        return numbers
    along = [1] * len(shape)
    along[axis] = -1
    return numbers.reshape(along)
