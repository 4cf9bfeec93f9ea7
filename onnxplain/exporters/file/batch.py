"""Making a batch that an old file fixes to 1 dynamic, where the result proves to be the same."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import onnx
import onnx_ir as ir

from onnxplain.errors import VerificationError
from onnxplain.exporters.file.pool_shapes import infer_shapes
from onnxplain.exporters.graph.session import GraphSession
from onnxplain.exporters.graph.values import constant_of, is_constant, name_of

BATCH_DIMENSION = "batch"


def has_fixed_batch(graph: ir.Graph) -> bool:
    """Whether the image input takes one image only."""
    return any(value.shape is not None and len(value.shape) == 4 and value.shape[0] == 1 for value in graph.inputs)


def free_batch(model: ir.Model) -> None:
    """Give inputs and outputs a symbolic batch, and let reshapes keep it instead of stating 1; in place."""
    graph = model.graph
    for node in graph:
        shape = node.inputs[1] if node.op_type == "Reshape" else None
        sizes, source = constant_of(shape), node.inputs[0]
        if sizes is None or source is None or is_constant(source) or source.shape is None:
            continue
        if sizes.size < 2 or sizes[0] != 1 or source.shape[0] != 1 or 0 in sizes:
            continue
        # 0 keeps the source's size, unless `allowzero` says otherwise (torch sets it without need).
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


def check_same(
    original: onnx.ModelProto, freed: onnx.ModelProto, name: str, images: Sequence[np.ndarray], tolerance: float
) -> None:
    """Raise VerificationError unless a batch gives what its images give one by one."""
    single, batched = GraphSession(original, "original model"), GraphSession(freed, "model with a dynamic batch")
    one_by_one = [single.run({name: image}) for image in images]
    together = batched.run({name: np.concatenate(list(images))})
    for output, found in together.items():
        expected = np.concatenate([run[output] for run in one_by_one])
        if found.shape != expected.shape:
            raise VerificationError(f"output {output!r} becomes {found.shape} for {len(images)} images")
        scale = max(float(np.abs(expected.astype(np.float64)).max()), 1e-30)
        error = float(np.abs(found.astype(np.float64) - expected.astype(np.float64)).max()) / scale
        allowed = 1.0 / scale if expected.dtype.kind in "iu" else tolerance
        if not error <= allowed:
            raise VerificationError(f"output {output!r} differs by {error:.1e} of its largest value")
