"""Refusing detectors by name: scores of boxes look like classes, and their gradients would mean something else."""

from __future__ import annotations

import onnx
import onnx.helper

from onnxplain.contract import ImageInput, UnreadInput
from onnxplain.contract.detectors import (
    DetectorSpec,
    GraphEnd,
    GraphOutput,
    custom_operator_advice,
    find_ends,
    read_hints,
    recognise,
)
from onnxplain.contract.image_input import DeclaredInput
from onnxplain.errors import ModelError, UnsupportedError

INSTEAD = "`onnxplain predict` prints its boxes, and rise explains them"


def refuse_detector_file(proto: onnx.ModelProto, image: ImageInput | UnreadInput | None, logits: str | None) -> None:
    """Raise UnsupportedError for a detector, ModelError for boxes of no known layout.

    `image`: its image input, as far as it could be read. A user who names the `logits` knows which output holds
    classes, so nothing is refused then.
    """
    unknown = {node.op_type for node in proto.graph.node if node.domain not in ("", "ai.onnx")}
    for operator in sorted(unknown):
        if advice := custom_operator_advice(operator):
            raise ModelError(advice)
    if logits is not None:
        return
    size_hw = image.size_hw if isinstance(image, ImageInput) else None
    props = {entry.key: entry.value for entry in proto.metadata_props}
    found = recognise(graph_end(proto), size_hw, read_hints(props))
    if isinstance(found, DetectorSpec):
        raise UnsupportedError(
            f"found a detector (layout {found.layout_name}), expected a model with classes: {INSTEAD}; name the class "
            "logits with --logits NAME (logits=…) if it is none"
        )
    if found.is_refused:
        raise UnsupportedError(f"{found}; {INSTEAD}")


def graph_end(proto: onnx.ModelProto) -> GraphEnd:
    """The outputs of a file and the operators behind them."""
    nodes = [(node.op_type, list(node.input), list(node.output)) for node in proto.graph.node]
    ends = find_ends(nodes, [output.name for output in proto.graph.output])
    outputs = []
    for output in proto.graph.output:
        tensor = output.type.tensor_type
        if tensor.elem_type == onnx.TensorProto.UNDEFINED:
            continue
        dims = [dim.dim_value if dim.HasField("dim_value") else dim.dim_param for dim in tensor.shape.dim]
        dtype = onnx.helper.tensor_dtype_to_np_dtype(tensor.elem_type).name
        declared = DeclaredInput.of(output.name, dtype, dims if tensor.HasField("shape") else None)
        outputs.append(GraphOutput(declared.name, declared.dtype, declared.dims, ends[output.name]))
    return GraphEnd(tuple(outputs), frozenset(operator for operator, _, _ in nodes))
