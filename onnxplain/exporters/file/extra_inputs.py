"""Inputs besides the image: their constants become defaults in the file, repeated for each image of a batch."""

from __future__ import annotations

from collections.abc import Collection, Sequence

import numpy as np
import onnx
import onnx.numpy_helper
import onnx_ir as ir

from onnxplain.contract import ExtraInput
from onnxplain.exporters.graph.branch import Branch
from onnxplain.exporters.graph.names import PREFIX
from onnxplain.exporters.graph.values import downstream, maybe_dims, name_of
from onnxplain.exporters.operators.table import operator_of


def store_constants(proto: onnx.ModelProto, extra: Sequence[ExtraInput]) -> tuple[str, ...]:
    """Give inputs their stated constant as default, in place; returns their names."""
    constants = [entry for entry in extra if entry.fill == "constant" and entry.value is not None]
    names = {entry.name for entry in constants}
    kept = [tensor for tensor in proto.graph.initializer if tensor.name not in names]
    for entry in constants:
        shape = [1 if size is None else size for size in entry.shape]
        array = np.array(entry.value).astype(entry.dtype).reshape(shape)
        kept.append(onnx.numpy_helper.from_array(array, entry.name))
    del proto.graph.initializer[:]
    proto.graph.initializer.extend(kept)
    return tuple(entry.name for entry in constants)


def keep_as_inputs(graph: ir.Graph, order: Sequence[str], constants: Collection[str]) -> None:
    """Make constants inputs again that have a default. `order`: the names of the file's inputs."""
    values = {name_of(value): value for value in graph.inputs}
    values |= {name: graph.initializers[name] for name in constants if name in graph.initializers}
    graph.inputs.clear()
    graph.inputs.extend(values[name] for name in order if name in values)
    for name in constants:
        _repeat(graph, values[name])


def _repeat(graph: ir.Graph, value: ir.Value) -> None:
    """Have the graph read one row of a constant for each image, where the input takes a row per image."""
    shape, default = maybe_dims(value), value.const_value
    image = next((each for each in graph.inputs if each.const_value is None and maybe_dims(each)), None)
    if not shape or image is None or image.shape is None or default is None or tuple(default.shape)[:1] != (1,):
        return
    batch = (maybe_dims(image) or (1,))[0]
    if isinstance(shape[0], int) or isinstance(batch, int) or (len(shape) == 1 and shape[0] != batch):
        return
    if any((node.name or "").startswith(f"{PREFIX}/") for node in value.consumers()):
        return
    branch = Branch(f"{PREFIX}/input_{name_of(value)}")
    rows = branch.Shape(image, start=0, end=1)
    others = [1] * (len(shape) - 1)
    repeated = branch.Expand(value, branch.Concat(rows, others, axis=0) if others else rows)
    readers = [node for node in value.consumers() if node not in branch.nodes]
    for node in readers:
        for index, source in enumerate(node.inputs):
            if source is value:
                node.replace_input_with(index, repeated)
    graph.insert_before(graph[0], branch.nodes)


def that_decide(graph: ir.Graph, constants: Collection[str]) -> set[str]:
    """The constants that a condition or a number of iterations depends on."""
    return {
        name_of(value)
        for value in graph.inputs
        if value.name in constants and any(operator_of(node).control_flow for node in downstream(value))
    }
