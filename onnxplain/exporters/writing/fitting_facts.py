"""What other tools say about a file, as far as it fits the graph."""

from __future__ import annotations

import onnx
import onnx_ir as ir

from onnxplain.contract import Layout
from onnxplain.exporters.graph.values import maybe_dims
from onnxplain.sidecars import SidecarFacts, fit_classes, fit_input, size_for


def fit_graph(facts: SidecarFacts, image: ir.Value, layout: Layout, classes: int | None = None) -> SidecarFacts:
    """The facts that fit the image input and, where given, the number of classes; the others become problems."""
    sides = [side if isinstance(side, int) else None for side in maybe_dims(image) or (None,) * 4]
    channels, *size = (sides[axis] for axis in ((1, 2, 3) if layout == "nchw" else (3, 1, 2)))
    fitting = fit_input(facts, channels, (size[0], size[1]), takes_bytes=image.dtype == ir.DataType.UINT8)
    return fitting if classes is None else fit_classes(fitting, classes)


def size_to_close(facts: SidecarFacts, proto: onnx.ModelProto) -> tuple[int, int] | None:
    """The input's size that was read, if the only input of the file leaves a side open and fixes no side otherwise."""
    inputs = {value.name: value for value in proto.graph.input}
    for tensor in proto.graph.initializer:
        inputs.pop(tensor.name, None)
    if len(inputs) != 1:
        return None
    (image,) = inputs.values()
    dims = [dim.dim_value if dim.dim_value > 0 else None for dim in image.type.tensor_type.shape.dim]
    if len(dims) != 4:
        return None
    nhwc = dims[3] in (1, 3) and dims[1] not in (1, 3)
    return size_for(facts, (dims[1], dims[2]) if nhwc else (dims[2], dims[3]))
