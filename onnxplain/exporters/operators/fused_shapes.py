"""Shape inference for ONNX Runtime's fused operators, which onnx's shape inference does not know."""

from __future__ import annotations

import onnx
import onnx.defs
import onnx.shape_inference
import onnx_ir as ir

from onnxplain.errors import UnsupportedError
from onnxplain.exporters.operators.expansion import expansion_of, is_written_out, type_proto


def infer_behind_fused(graph: ir.Graph) -> bool:
    """Walk the graph once and infer shapes from the fused operators on; returns whether any shape was found."""
    opset = graph.opset_imports[""]
    found = False
    for node in graph:
        if all(output.shape is not None for output in node.outputs):
            continue
        if any(source is not None and source.shape is None for source in node.inputs):
            continue
        if is_written_out(node):
            found |= _as_expanded(node, opset)
        elif found and node.domain in ("", "ai.onnx"):
            _alone(node, opset)
    return found


def _as_expanded(node: ir.Node, opset: int) -> bool:
    """Give the outputs the shapes of the operator's expansion; returns whether a new shape was found."""
    try:
        with expansion_of(node, opset) as expansion:
            found = False
            for output, made in zip(node.outputs, () if expansion is None else expansion.outputs, strict=False):
                if output.shape is None and made is not None and made.shape is not None and made.dtype is not None:
                    output.shape, output.dtype = made.shape, made.dtype
                    found = True
            return found
    except UnsupportedError:
        # A form of an operator that has no gradient is still allowed before the layer.
        return False


def _alone(node: ir.Node, opset: int) -> None:
    """Infer the outputs of one standard operator; if the shapes of its inputs are not enough, the next pass will."""
    try:
        schema = onnx.defs.get_schema(node.op_type, opset, "")
        types = {source.name: type_proto(source) for source in node.inputs if source is not None and source.name}
        constants = {
            source.name: ir.to_proto(source.const_value)
            for source in node.inputs
            if source is not None and source.name and source.const_value is not None and source.const_value.size <= 64
        }
        inferred = onnx.shape_inference.infer_node_outputs(
            schema, ir.to_proto(node), types, constants, opset_imports=[onnx.helper.make_opsetid("", opset)]
        )
    except (onnx.defs.SchemaError, onnx.shape_inference.InferenceError):
        return
    for output in node.outputs:
        kind = inferred.get(output.name or "")
        if output.shape is None and kind is not None and kind.tensor_type.HasField("shape"):
            dims = kind.tensor_type.shape.dim
            output.shape = ir.Shape([d.dim_value if d.HasField("dim_value") else d.dim_param or None for d in dims])
            output.dtype = ir.DataType(kind.tensor_type.elem_type)
