"""Adding a DequantizeLinear to quantized values that a file never dequantizes, as in files of the QOperator form."""

from __future__ import annotations

import onnx_ir as ir

from onnxplain.exporters.graph.values import is_constant, maybe_dims, name_of
from onnxplain.exporters.operators.quantized import is_given
from onnxplain.exporters.operators.table import operator_of

SUFFIX = "/dequantized"


def add_dequantizers(graph: ir.Graph) -> None:
    """Add a DequantizeLinear after each quantized activation that has none.

    They make the float maps inside integer networks available, and the logits before a quantized softmax. Those that no
    node reads are removed when the graph is finished.
    """
    parameters: dict[ir.Value, list[ir.Value]] = {}
    for node in list(graph):
        output, source = node.outputs[0], node.inputs[0] if node.inputs else None
        operator = operator_of(node)
        if operator.integers is not None and operator.integers.result is not None:
            place = operator.integers.result
            known = [value for value in node.inputs[place : place + 2] if value is not None]
            known = known if is_given(node, place) else []
        elif operator.keeps_integers and source in parameters:
            known = parameters[source]
        else:
            continue
        if not known or output.shape is None or is_constant(output):
            continue
        # After a Transpose or Reshape, a scale per channel would belong to another axis.
        if any(maybe_dims(value) not in ((), (1,)) for value in known):
            continue
        parameters[output] = known
        if not any(reader.op_type == "DequantizeLinear" for reader in output.consumers()):
            graph.insert_after(node, _dequantizer(output, known))


def _dequantizer(value: ir.Value, known: list[ir.Value]) -> ir.Node:
    node = ir.Node("", "DequantizeLinear", [value, *known], name=f"{name_of(value)}{SUFFIX}")
    (result,) = node.outputs
    result.name, result.shape = node.name, value.shape
    result.type = ir.TensorType(ir.DataType.FLOAT)
    return node
