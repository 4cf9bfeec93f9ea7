"""Refusing operators of other runtimes that suppress boxes."""

from __future__ import annotations

import onnx

from onnxplain.contract.detectors import custom_operator_advice
from onnxplain.errors import ModelError


def refuse_custom_operators(proto: onnx.ModelProto) -> None:
    """Raise ModelError for an operator of another runtime that suppresses boxes, with what to export instead."""
    unknown = {node.op_type for node in proto.graph.node if node.domain not in ("", "ai.onnx")}
    for operator in sorted(unknown):
        if advice := custom_operator_advice(operator):
            raise ModelError(advice)
