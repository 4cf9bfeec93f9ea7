"""Refusing detectors by name: scores of boxes look like classes, and their gradients would mean something else."""

from __future__ import annotations

import onnx
import onnx_ir as ir

from onnxplain.contract import ImageInput, UnreadInput
from onnxplain.contract.detectors import (
    DetectorSpec,
    custom_operator_advice,
    read_hints,
    read_outputs,
    recognise,
)
from onnxplain.errors import ModelError, UnsupportedError
from onnxplain.exporters.anatomy.graph_end import read_graph_end
from onnxplain.exporters.file.pool_shapes import infer_shapes

INSTEAD = "`onnxplain predict` prints its boxes, and rise explains them"


def refuse_detector_file(
    proto: onnx.ModelProto, image: ImageInput | UnreadInput | None, model_type: str | None = None
) -> None:
    """Raise UnsupportedError for a detector, and for boxes of no known layout.

    `image`: its image input, as far as it could be read. `model_type`: Hugging Face's word for the model.
    """
    read = image if isinstance(image, ImageInput) else None
    props = {entry.key: entry.value for entry in proto.metadata_props}
    model = ir.from_proto(proto)
    if any(output.shape is None for output in model.graph.outputs):
        infer_shapes(model)
    outputs = read_outputs(read_graph_end(model.graph, read))
    found = recognise(outputs, None if read is None else read.size_hw, read_hints(props, model_type=model_type))
    if isinstance(found, DetectorSpec):
        raise UnsupportedError(
            f"found a detector (layout {found.layout_name}), expected a model with classes: {INSTEAD}; if it is none, "
            "name its class logits with --head NAME:classes (heads=…)"
        )
    if found.is_refused:
        raise UnsupportedError(f"{found}; {INSTEAD}")


def refuse_custom_operators(proto: onnx.ModelProto) -> None:
    """Raise ModelError for an operator of another runtime that suppresses boxes, with what to export instead."""
    unknown = {node.op_type for node in proto.graph.node if node.domain not in ("", "ai.onnx")}
    for operator in sorted(unknown):
        if advice := custom_operator_advice(operator):
            raise ModelError(advice)
