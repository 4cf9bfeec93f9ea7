"""Recomputing float16 values without their last rounding."""

from __future__ import annotations

from collections.abc import Callable

import onnx_ir as ir

from onnxplain.exporters.graph.branch import Branch
from onnxplain.exporters.graph.values import FLOATS, is_constant, producer_of
from onnxplain.exporters.operators.operator import Hands
from onnxplain.exporters.operators.table import operator_of


def unrounded(branch: Branch, value: ir.Value) -> ir.Value:
    """The value in float32; a float16 value is computed again from the operands of its last sum.

    ONNX Runtime's CPU provider computes float16 files in float32 throughout. Reading the logits directly would insert a
    rounding to float16, and would change the model's own softmax by up to half a percent.
    """
    node = producer_of(value)
    if node is None or value.dtype == ir.DataType.FLOAT or is_constant(value):
        return branch.forward(value)
    row = operator_of(node)
    passed_through = row.name == "Add" or row.hands in (Hands.WHOLE, Hands.RESHAPED)
    if not passed_through and not row.sums:
        return branch.forward(value)
    bring = unrounded if passed_through else Branch.forward
    first, *others = node.inputs
    assert first is not None
    inner = bring(branch, first)
    if row.hands is Hands.WHOLE:
        return inner
    operands = [None if other is None else _operand(branch, bring, other) for other in others]
    return branch.repeat(node, [inner, *operands])[value.index() or 0]


def _operand(branch: Branch, bring: Callable[[Branch, ir.Value], ir.Value], value: ir.Value) -> ir.Value:
    return bring(branch, value) if value.dtype in FLOATS else value
