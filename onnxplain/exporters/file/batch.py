"""Making a batch that a file fixes to a number dynamic."""

from __future__ import annotations

import numpy as np
import onnx
import onnx_ir as ir

from onnxplain.exporters.file.batch_axis import BatchPlace, Sizes, batch_places, is_repeated, static_sizes
from onnxplain.exporters.file.pool_shapes import infer_shapes
from onnxplain.exporters.graph.branch import Branch
from onnxplain.exporters.graph.values import constant_of, int_attribute, is_constant, name_of

BATCH_DIMENSION = "batch"
IMAGE_RANK = 4


def fixed_batch(graph: ir.Graph) -> int | None:
    """The number of images that the image input takes; None where it takes any number."""
    image = image_input(graph)
    batch = None if image is None or image.shape is None else image.shape[0]
    return batch if isinstance(batch, int) else None


def is_batch_open(proto: onnx.ModelProto, graph: ir.Graph) -> bool:
    """Whether the file that `graph` was read from states no number for its batch."""
    image = image_input(graph)
    stated = [value for value in proto.graph.input if image is not None and value.name == image.name]
    return any(not value.type.tensor_type.shape.dim[0].HasField("dim_value") for value in stated)


def image_input(graph: ir.Graph) -> ir.Value | None:
    """The first input with four dimensions."""
    return next((value for value in graph.inputs if value.shape is not None and len(value.shape) == IMAGE_RANK), None)


def free_batch(model: ir.Model, batch: int) -> None:
    """Give inputs and outputs a symbolic batch, and keep it wherever the graph states `batch`; in place.

    The batch is followed from the image input through the graph, whose shapes have to be numbers. Whether the outputs
    are right for other batches has to be checked.
    """
    graph = model.graph
    places = batch_places(graph, batch)
    shapes = {output: static_sizes(output) for node in graph for output in node.outputs}
    for node in list(graph):
        output = node.outputs[0]
        place, sizes = places.get(output), shapes[output]
        if place is None or sizes is None:
            continue
        if node.op_type == "Reshape":
            _free_reshape(graph, node, places, sizes)
        elif node.op_type == "Expand":
            _free_expand(graph, node, places, sizes)
        elif node.op_type == "Resize":
            _free_resize(graph, node, places, batch)
        elif node.op_type == "Concat":
            _repeat_constants(graph, node, places, place.axis, batch)
        elif batch > 1:
            _shorten_constants(graph, node, place.axis, len(sizes), batch)
    image = image_input(graph)
    if image is not None and image.shape is not None:
        image.shape = ir.Shape([BATCH_DIMENSION, *image.shape[1:]])
    for node in graph:
        for output in node.outputs:
            if not is_constant(output):
                output.shape = None
    infer_shapes(model)


def _free_reshape(graph: ir.Graph, node: ir.Node, places: dict[ir.Value, BatchPlace], sizes: Sizes) -> None:
    source, found = node.inputs[0], places[node.outputs[0]]
    before = None if source is None else static_sizes(source)
    if source is None or source not in places or before is None or 0 in sizes:
        return
    kept = np.array(sizes, np.int64)
    # 0 keeps the source's size, unless `allowzero` says otherwise (torch sets it without need).
    node.attributes.pop("allowzero", None)
    kept[found.axis] = 0 if found == places[source] and sizes[found.axis] == before[found.axis] else -1
    node.replace_input_with(1, _constant(graph, kept, node, "batch_kept"))


def _free_expand(graph: ir.Graph, node: ir.Node, places: dict[ir.Value, BatchPlace], sizes: Sizes) -> None:
    """An Expand to 1 keeps the source's size."""
    if node.inputs[0] not in places:
        return
    kept = np.array(sizes, np.int64)
    kept[places[node.outputs[0]].axis] = 1
    node.replace_input_with(1, _constant(graph, kept, node, "batch_kept"))


def _free_resize(graph: ir.Graph, node: ir.Node, places: dict[ir.Value, BatchPlace], batch: int) -> None:
    source = node.inputs[0]
    stated = constant_of(node.inputs[3]) if len(node.inputs) > 3 else None
    if (
        source is None
        or places.get(source) != BatchPlace(0)
        or stated is None
        or "axes" in node.attributes
        or stated[0] != batch
    ):
        return
    branch = Branch(f"{name_of(node.outputs[0])}/batch_kept")
    sizes = branch.Concat(branch.Shape(source, start=0, end=1), stated[1:], axis=0)
    graph.insert_before(node, branch.nodes)
    node.replace_input_with(3, sizes)


def _repeat_constants(
    graph: ir.Graph, node: ir.Node, places: dict[ir.Value, BatchPlace], axis: int, batch: int
) -> None:
    """Repeat a constant beside the images, such as a class token, once per image."""
    carrier = next(source for source in node.inputs if source is not None and source in places)
    if axis == int_attribute(node, "axis", 0) % len(static_sizes(carrier) or (0,)):
        return
    for place, source in enumerate(node.inputs):
        array = None if source is None or source in places else constant_of(source)
        if array is None or array.shape[axis] != batch or not is_repeated(array, axis):
            continue
        one = _constant(graph, np.take(array, [0], axis), node, f"one_{place}")
        branch = Branch(f"{name_of(node.outputs[0])}/repeat_{place}")
        ones = [np.ones(count, np.int64) for count in (axis, array.ndim - axis - 1)]
        count = branch.Shape(carrier, start=axis, end=axis + 1)
        repeated = branch.Expand(one, branch.Concat(ones[0], count, ones[1], axis=0))
        graph.insert_before(node, branch.nodes)
        node.replace_input_with(place, repeated)


def _shorten_constants(graph: ir.Graph, node: ir.Node, axis: int, rank: int, batch: int) -> None:
    """Let an operand that repeats itself for each image broadcast instead."""
    for place, source in enumerate(node.inputs):
        if source is None or not is_constant(source) or source.shape is None or len(source.shape) != rank:
            continue
        if source.shape[axis] != batch:
            continue
        array = constant_of(source)
        if array is not None and is_repeated(array, axis):
            node.replace_input_with(place, _constant(graph, np.take(array, [0], axis), node, f"one_{place}"))


def _constant(graph: ir.Graph, array: np.ndarray, node: ir.Node, role: str) -> ir.Value:
    name = f"{name_of(node.outputs[0])}/{role}"
    value = ir.Value(name=name, const_value=ir.tensor(array, name=name))
    value.shape, value.dtype = ir.Shape(array.shape), ir.DataType.from_numpy(array.dtype)
    graph.register_initializer(value)
    return value
