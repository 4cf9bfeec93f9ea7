"""Finding the sizes that depend on nothing but the input's, where shape inference stops.

They are read from ONNX Runtime at several batch sizes: a size that is equal in all runs is a number, one that grows
with the batch is a multiple of it, any other stays unknown. Shape arithmetic whose result is certain (certainty.py)
becomes a constant (folding.py).
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import onnx_ir as ir

from onnxplain.errors import VerificationError
from onnxplain.exporters.file.batch import BATCH_DIMENSION
from onnxplain.exporters.file.dependence import Dependence, depend_on_pixels
from onnxplain.exporters.file.folding import fold
from onnxplain.exporters.file.pool_shapes import infer_shapes
from onnxplain.exporters.file.probe import Probed, measure
from onnxplain.exporters.graph.loops import first_unbounded
from onnxplain.exporters.graph.values import Dims, is_constant, maybe_dims

# Sizes are read at all of these; the folded graph is compared with the graph as found at the last two.
OPEN_BATCHES = (2, 3, 1, 5)
COMPARED = 2
# The outputs of a freed graph are compared with the original's in any case (checks/same_outputs.py).
FREED_BATCHES = (1, 2, 3)

WHOLE_NUMBERS = frozenset({ir.DataType.INT64, ir.DataType.INT32, ir.DataType.BOOL})
# What the gradient rules must know as a constant, by operator and input.
NEEDED: Mapping[str, tuple[int, ...]] = {
    "Gather": (1,),
    "GatherElements": (1,),
    "GatherND": (1,),
    "Pad": (1,),
    "Resize": (2, 3),
    "ScatterElements": (1,),
    "ScatterND": (1,),
    "Slice": (1, 2, 3, 4),
    "Split": (1,),
    "Tile": (1,),
    "Unsqueeze": (1,),
}


@dataclass(frozen=True)
class OpenBatch:
    """The first size of the inputs: a symbol, or None where it is a number."""

    symbol: str | None

    def times(self, factor: int) -> str | int:
        """A multiple of the batch as a size."""
        assert self.symbol is not None
        return self.symbol if factor == 1 else f"{factor}*{self.symbol}"

    def is_known(self, size: int | str) -> bool:
        """Whether a size is a number, or a multiple of the batch."""
        if isinstance(size, int):
            return True
        symbol = re.escape(self.symbol or "")
        return bool(self.symbol) and re.fullmatch(rf"(\d+ ?\* ?)?{symbol}|{symbol} ?\* ?\d+", size) is not None


def find_sizes(model: ir.Model) -> None:
    """Fill in every shape that the input's shape determines, and fold what is computed from sizes; in place.

    Nothing happens where shape inference found everything, or where the input itself is open in more than its batch. A
    graph with an open batch that ONNX Runtime runs with one image only gets a batch of 1.
    """
    batch = open_batch(model.graph)
    if batch is None or not _is_open(model.graph, batch):
        return
    try:
        _find(model, batch)
    except VerificationError:
        if batch.symbol is None:
            return
        _find_for_one_image(model)


def find_sizes_of_freed(model: ir.Model) -> None:
    """As `find_sizes`, but a graph that does not run at every batch size is an error: VerificationError.

    What is folded is not compared: the outputs of a freed graph have to be checked as a whole.
    """
    batch = open_batch(model.graph)
    if batch is not None and _is_open(model.graph, batch):
        _find(model, batch, FREED_BATCHES, compared=0)


def state_shapes(model: ir.Model) -> None:
    """Fill in the shapes as `find_sizes` does, but fold nothing; in place."""
    batch = open_batch(model.graph)
    if batch is not None and _is_open(model.graph, batch):
        _state(model.graph, batch, _measure(model, batch, (1,), depend_on_pixels(model.graph)))


def open_batch(graph: ir.Graph) -> OpenBatch | None:
    """The batch of the inputs; None where another size is open, or their batches have several names.

    A batch without a name is given one.
    """
    symbols = set()
    for value in graph.inputs:
        shape = maybe_dims(value)
        if shape is None or not all(isinstance(size, int) for size in shape[1:]):
            return None
        if shape and not isinstance(shape[0], int):
            if shape[0] == "?":
                assert value.shape is not None
                value.shape = ir.Shape([BATCH_DIMENSION, *value.shape[1:]])
            symbols.add(BATCH_DIMENSION if shape[0] == "?" else shape[0])
    if len(symbols) > 1:
        return None
    return OpenBatch(symbols.pop() if symbols else None)


def _is_open(graph: ir.Graph, batch: OpenBatch) -> bool:
    """Whether a size is open that is not the batch, or a rule would miss a constant."""
    for node in graph:
        for output in node.outputs:
            if output.name and _is_tensor(output) and not _is_whole(maybe_dims(output), batch):
                return True
        for place in NEEDED.get(node.op_type, ()):
            source = node.inputs[place] if place < len(node.inputs) else None
            if source is not None and source.producer() is not None and not is_constant(source):
                return True
    return False


def _is_whole(shape: Dims | None, batch: OpenBatch) -> bool:
    return shape is not None and all(map(batch.is_known, shape))


def _is_tensor(value: ir.Value) -> bool:
    return value.type is None or isinstance(value.type, ir.TensorType)


def _find(model: ir.Model, batch: OpenBatch, batches: Sequence[int] = OPEN_BATCHES, compared: int = COMPARED) -> None:
    graph = model.graph
    dependence = depend_on_pixels(graph)
    measured = _measure(model, batch, batches, dependence)
    _state(graph, batch, measured)
    fold(model, dependence, measured, compared)
    if any(output.dtype is None or output.shape is None for node in graph for output in node.outputs if output.name):
        infer_shapes(model)


def _find_for_one_image(model: ir.Model) -> None:
    """Give the inputs a batch of 1, if the graph runs so; else leave all as it is."""
    graph = model.graph
    found = {value: value.shape for value in (*graph.inputs, *_outputs(graph))}
    for value in graph.inputs:
        if value.shape is not None and len(value.shape):
            value.shape = ir.Shape([1 if not isinstance(value.shape[0], int) else value.shape[0], *value.shape[1:]])
    for value in _outputs(graph):
        value.shape = None
    infer_shapes(model)
    try:
        _find(model, OpenBatch(None))
    except VerificationError:
        for value, shape in found.items():
            value.shape = shape


def _outputs(graph: ir.Graph) -> list[ir.Value]:
    return [output for node in graph for output in node.outputs]


def _measure(model: ir.Model, batch: OpenBatch, batches: Sequence[int], dependence: Dependence) -> Probed:
    """Raises VerificationError where ONNX Runtime cannot run the graph, or might never end."""
    graph = model.graph
    if first_unbounded(graph) is not None:
        raise VerificationError("the graph has a Loop without a bound")
    values = [value for value in _outputs(graph) if value.name and _is_tensor(value)]
    contents = [
        value
        for value in values
        if value not in dependence.contents and (value not in dependence.constants or value.dtype in WHOLE_NUMBERS)
    ]
    known = dependence.shapes.union(contents)
    shapes = [
        value
        for value in values
        if value not in known and (value.is_graph_output() or not _is_whole(maybe_dims(value), batch))
    ]
    untyped = [value for value in values if value.dtype is None]
    return measure(model, batches if batch.symbol else (1,), untyped, shapes, contents)


def _state(graph: ir.Graph, batch: OpenBatch, measured: Probed) -> None:
    """Give the measured values their types and shapes."""
    for value, dtype in measured.types.items():
        value.dtype = dtype
    shapes = dict(measured.shapes)
    for value, arrays in measured.contents.items():
        shapes[value] = tuple(array.shape for array in arrays)
    for value, found in shapes.items():
        if len({len(shape) for shape in found}) == 1:
            stated = value.shape if value.shape is not None and len(value.shape) == len(found[0]) else None
            value.shape = ir.Shape(
                [
                    _size(sizes, measured.batches, batch, None if stated is None else stated[axis])
                    for axis, sizes in enumerate(zip(*found, strict=True))
                ]
            )


def _size(
    sizes: Sequence[int], batches: Sequence[int], batch: OpenBatch, stated: ir.SymbolicDim | int | None
) -> ir.SymbolicDim | int | str | None:
    if len(set(sizes)) == 1:
        return sizes[0]
    factor = sizes[0] // batches[0]
    if all(size == factor * count for size, count in zip(sizes, batches, strict=True)):
        return batch.times(factor)
    return None if isinstance(stated, int) else stated
