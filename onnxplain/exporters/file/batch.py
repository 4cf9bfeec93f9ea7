"""Making the batch dynamic if an old file fixes it to 1."""

from __future__ import annotations

import numpy as np
import onnx_ir as ir

from onnxplain.exporters.file.pool_shapes import infer_shapes
from onnxplain.exporters.graph.values import constant_of, is_constant, name_of

BATCH_DIMENSION = "batch"


def has_fixed_batch(graph: ir.Graph) -> bool:
    """Whether the image input takes only one image."""
    return any(value.shape is not None and len(value.shape) == 4 and value.shape[0] == 1 for value in graph.inputs)


def free_batch(model: ir.Model) -> None:
    """Give inputs and outputs a symbolic batch size; a Reshape to batch size 1 then keeps the batch. In place."""
    graph = model.graph
    for node in graph:
        shape = node.inputs[1] if node.op_type == "Reshape" else None
        sizes, source = constant_of(shape), node.inputs[0]
        if sizes is None or source is None or is_constant(source) or source.shape is None:
            continue
        if sizes.size < 2 or sizes[0] != 1 or source.shape[0] != 1 or 0 in sizes:
            continue
        # 0 keeps the size of the source, unless `allowzero` is set (torch sets it although it is not needed).
        node.attributes.pop("allowzero", None)
        kept = np.array(sizes)
        kept[0] = 0
        name = f"{name_of(node.outputs[0])}/batch_kept"
        value = ir.Value(name=name, const_value=ir.tensor(kept, name=name))
        value.shape, value.dtype = ir.Shape(kept.shape), ir.DataType.INT64
        graph.register_initializer(value)
        node.replace_input_with(1, value)
    for value in graph.inputs:
        if value.shape is not None and len(value.shape) == 4:
            value.shape = ir.Shape([BATCH_DIMENSION, *value.shape[1:]])
    for node in graph:
        for output in node.outputs:
            if not is_constant(output):
                output.shape = None
    infer_shapes(model)
