"""The end of a file's graph: its nodes from the file, the shapes and types of its outputs from the session."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from onnxplain.contract import Dim, EndNode, EndValue, GraphEnd, ImageInput, is_batched
from onnxplain.runtime.image_input import declare
from onnxplain.runtime.protobuf.end_reader import read_file_graph
from onnxplain.runtime.protobuf.model_facts import opened_model
from onnxplain.runtime.session import Session

# Operators whose output has the shape of their first input.
_SAME_SHAPE = (
    *("Identity", "Dropout", "Cast", "CastLike", "QuantizeLinear", "DequantizeLinear"),
    *("Clip", "Softmax", "LogSoftmax", "Sigmoid", "LpNormalization"),
)
_RESHAPED = ("Reshape", "Flatten", "Squeeze", "Unsqueeze", "ExpandDims")


def read_graph_end(
    session: Session, path: Path, image: ImageInput, run_once: Callable[[Sequence[str]], list[Any]]
) -> GraphEnd:
    """The end of a graph. `run_once` computes outputs for one batch; it is called where their shapes are open.

    Of that run only shapes are used. Raises ModelError for a file that is no complete ONNX model.
    """
    with opened_model(path) as model:
        graph = read_file_graph(model)
    unbatched = not is_batched(image.layout)
    outputs = tuple(_declared(tensor) for tensor in session.get_outputs())
    open_ones = [output.name for output in outputs if _is_open(output, unbatched=unbatched)]
    if open_ones:
        arrays = dict(zip(open_ones, run_once(open_ones), strict=True))
        outputs = tuple(_measured(output, arrays.get(output.name), image) for output in outputs)
    return GraphEnd(
        outputs=outputs,
        nodes=graph.nodes,
        values={**_before(outputs, graph.nodes), **{n: v for n, v in graph.values.items() if _is_known(v)}},
        constants=graph.constants,
        stored=graph.stored,
        opset=graph.opset,
        unbatched=unbatched,
        batch=image.batch,
    )


def _declared(tensor: Any) -> EndValue:
    if not tensor.type.startswith("tensor("):
        return EndValue(tensor.name, tensor.type)
    declared = declare(tensor)
    return EndValue(declared.name, declared.dtype, declared.dims)


def _is_open(output: EndValue, *, unbatched: bool) -> bool:
    """Whether a size is open that is not the batch. ONNX Runtime says () of a shape that it does not know."""
    if "(" in output.dtype:
        return False
    dims = output.dims or ()
    sizes = dims if unbatched else dims[1:]
    return not dims or not all(isinstance(size, int) for size in sizes)


def _measured(output: EndValue, found: object, image: ImageInput) -> EndValue:
    """The output with the shape that a run gave it; the batch stays open where the graph leaves it open."""
    if not isinstance(found, np.ndarray):
        return output
    dims: tuple[Dim, ...] = found.shape
    if image.batch is None and dims[:1] == (1,):
        dims = (output.dims[0] if output.dims else None, *dims[1:])
    return replace(output, dims=dims)


def _is_known(value: EndValue) -> bool:
    return value.dims is not None and all(isinstance(size, int) for size in value.dims[1:])


def _before(outputs: Sequence[EndValue], nodes: Sequence[EndNode]) -> Mapping[str, EndValue]:
    """The shapes of the values in front of each output, as far as the operators between them keep them.

    In front of a Reshape of one row of numbers per image, the shape is given as that row.
    """
    producers = {name: node for node in nodes for name in node.outputs if name}
    values: dict[str, EndValue] = {}
    for output in outputs:
        name, dims = output.name, output.dims
        while dims is not None and (node := producers.get(name)) is not None and node.inputs:
            dims = _shape_before(node, name, dims)
            name = node.inputs[0]
            if dims is not None:
                values.setdefault(name, EndValue(name, dims=dims))
    return values


def _shape_before(node: EndNode, output: str, dims: tuple[Dim, ...]) -> tuple[Dim, ...] | None:
    """The shape of a node's first input, from that of its output; None if it is not known."""
    if node.outputs[:1] != (output,):
        return None
    if node.operator in _SAME_SHAPE:
        return dims
    if node.operator == "Transpose":
        order = node.attributes.get("perm", tuple(range(len(dims)))[::-1])
        if isinstance(order, int | float) or sorted(order) != list(range(len(dims))):
            return None
        return tuple(dims[list(order).index(axis)] for axis in range(len(dims)))
    sizes = [size for size in dims[1:] if isinstance(size, int)]
    if node.operator in _RESHAPED and len(sizes) == len(dims) - 1 and sum(size != 1 for size in sizes) <= 1:
        return dims[0], math.prod(sizes)
    return None
