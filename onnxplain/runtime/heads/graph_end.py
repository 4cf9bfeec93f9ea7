"""The end of a file's graph: its nodes from the file, shapes and types of its outputs from ONNX Runtime."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from onnxplain.contract import Dim, EndNode, EndValue, GraphEnd, ImageInput, is_batched
from onnxplain.errors import ModelError
from onnxplain.machine.time_limit import LimitedSession
from onnxplain.runtime.arrays import AnyArray
from onnxplain.runtime.image_input import declare
from onnxplain.runtime.protobuf.end_reader import FileGraph, read_file_graph
from onnxplain.runtime.protobuf.model_facts import opened_model
from onnxplain.runtime.sessions.session import Session, open_with_outputs, run_session

# Operators whose output has the shape of their first input.
_SAME_SHAPE = (
    *("Identity", "Dropout", "Cast", "CastLike", "QuantizeLinear", "DequantizeLinear"),
    *("Clip", "Softmax", "LogSoftmax", "Sigmoid", "LpNormalization"),
)
_RESHAPED = ("Reshape", "Flatten", "Squeeze", "Unsqueeze", "ExpandDims")
_FOLLOWED = (*_SAME_SHAPE, *_RESHAPED, "Transpose", "TopK", "ArgMax", "Mul", "Div")


@dataclass(frozen=True, eq=False)
class FileEnd:
    """The end of a file's graph. `zeros`: inputs for one batch; the model is run on them only where a shape is open.

    Of that run only shapes are used. Its properties raise ModelError for a file that is no complete ONNX model.
    """

    session: Session
    path: Path
    image: ImageInput
    zeros: Callable[[], Mapping[str, AnyArray]]

    @cached_property
    def outline(self) -> GraphEnd:
        """The end with the shapes of its outputs, and of inner values as far as the file declares them."""
        graph, image = self._graph, self.image
        names = [tensor.name for tensor in self.session.get_outputs()]
        return GraphEnd(
            outputs=tuple(_shaped(self.session, self.path, image, self.zeros, names)),
            nodes=graph.nodes,
            values={name: value for name, value in graph.values.items() if _is_closed(value, image)},
            constants=graph.constants,
            stored=graph.stored,
            opset=graph.opset,
            unbatched=not is_batched(image.layout),
            batch=image.batch,
        )

    @cached_property
    def whole(self) -> GraphEnd:
        """The end with the shapes of the values in front of its outputs too."""
        end = self.outline
        before, unknown = _before(end.outputs, self._graph, end.values)
        if unknown:
            timeout = self.session.timeout if isinstance(self.session, LimitedSession) else None
            measured = _measured_inside(self.path, self.image, self.zeros, unknown, timeout)
            before.update({value.name: value for value in measured})
        return replace(end, values={**before, **end.values})

    @cached_property
    def _graph(self) -> FileGraph:
        with opened_model(self.path) as model:
            return read_file_graph(model)


def _shaped(
    session: Session, path: Path, image: ImageInput, zeros: Callable[[], Mapping[str, AnyArray]], names: Sequence[str]
) -> list[EndValue]:
    """Outputs of a session with their shapes; where these are open, from one run."""
    tensors = {tensor.name: tensor for tensor in session.get_outputs()}
    outputs = [_declared(tensors[name]) for name in names]
    open_ones = [value.name for value in outputs if "(" not in value.dtype and not _is_closed(value, image)]
    if open_ones:
        arrays = dict(zip(open_ones, run_session(session, path, open_ones, zeros()), strict=True))
        outputs = [_measured(value, arrays.get(value.name), image) for value in outputs]
    return outputs


def _measured_inside(
    path: Path,
    image: ImageInput,
    zeros: Callable[[], Mapping[str, AnyArray]],
    names: Sequence[str],
    timeout: float | None,
) -> list[EndValue]:
    """Inner values with their shapes; none where ONNX Runtime cannot return them, which leaves their shapes open."""
    try:
        return _shaped(open_with_outputs(path, names, timeout), path, image, zeros, names)
    except ModelError:
        return []


def _declared(tensor: Any) -> EndValue:
    if not tensor.type.startswith("tensor("):
        return EndValue(tensor.name, tensor.type)
    declared = declare(tensor)
    return EndValue(declared.name, declared.dtype, declared.dims)


def _is_closed(value: EndValue, image: ImageInput) -> bool:
    """Whether all sizes but the batch are known. ONNX Runtime says () of a shape that it does not know."""
    dims = value.dims or ()
    return bool(dims) and all(isinstance(size, int) for size in (dims[1:] if is_batched(image.layout) else dims))


def _measured(output: EndValue, found: object, image: ImageInput) -> EndValue:
    """The output with the shape that a run gave it; the batch stays open where the graph leaves it open."""
    if not isinstance(found, np.ndarray):
        return output
    dims: tuple[Dim, ...] = found.shape
    if image.batch is None and dims[:1] == (1,):
        dims = (output.dims[0] if output.dims else None, *dims[1:])
    return replace(output, dims=dims)


def _before(
    outputs: Iterable[EndValue], graph: FileGraph, declared: Mapping[str, EndValue]
) -> tuple[dict[str, EndValue], list[str]]:
    """The shapes of the values in front of each output as far as they follow, and the values whose shapes do not.

    What a Reshape was given may have been a map; unless that is a pooled value or a linear layer, it is unknown.
    """
    producers = {name: node for node in graph.nodes for name in node.outputs if name}
    values: dict[str, EndValue] = {}
    unknown: dict[str, None] = {}
    for output in outputs:
        name, dims = output.name, output.dims
        while (node := producers.get(name)) is not None and node.operator in _FOLLOWED and node.inputs:
            source = next((source for source in node.inputs if source not in graph.stored), node.inputs[0])
            row = node.operator in _RESHAPED and _is_row(producers, source)
            dims = None if dims is None else _shape_before(node, name, dims, row=row)
            name = source
            dims = declared[name].dims if name in declared else dims
            if dims is not None:
                values.setdefault(name, EndValue(name, dims=dims))
            elif name in graph.own:
                unknown[name] = None
    return values, list(unknown)


def _is_row(producers: Mapping[str, EndNode], name: str) -> bool:
    """Whether a value is one row of numbers per image, whatever its shape: what was pooled, or a linear layer gave."""
    while (node := producers.get(name)) is not None and node.operator in (*_SAME_SHAPE, *_RESHAPED):
        name = node.inputs[0]
    return node is not None and node.operator in ("Gemm", "GlobalAveragePool")


def _shape_before(node: EndNode, output: str, dims: tuple[Dim, ...], *, row: bool) -> tuple[Dim, ...] | None:
    """The shape of a node's first input, from that of its output; None if it is not known.

    `row`: the input of a Reshape is one row of numbers, and is described so.
    """
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
    return (dims[0], math.prod(sizes)) if row and len(sizes) == len(dims) - 1 > 0 else None
