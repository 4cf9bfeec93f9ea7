"""Following the batch of a graph whose batch is a number: where each value holds its images."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import onnx_ir as ir

from onnxplain.errors import UnsupportedError
from onnxplain.exporters.anatomy.products import einsum_letters, product_letters
from onnxplain.exporters.file.dependence import reads_shape
from onnxplain.exporters.graph.values import constant_of, int_attribute, maybe_dims, reduced_axes
from onnxplain.exporters.operators.expansion import expansion_of, is_written_out
from onnxplain.exporters.operators.table import operator_of

Sizes = tuple[int, ...]

# The attribute that names the axis along which an operator sorts, picks, adds up or joins, and its default.
REORDERED: Mapping[str, tuple[str, int]] = {
    "Compress": ("axis", 0),
    "Concat": ("axis", 0),
    "GatherElements": ("axis", 0),
    "ReverseSequence": ("time_axis", 0),
    "TopK": ("axis", -1),
}


@dataclass(frozen=True)
class BatchPlace:
    """The axis that holds the batch; `outside` counts what varies more slowly along it: 65 in [65 · N, 48]."""

    axis: int
    outside: int = 1


def batch_places(graph: ir.Graph, batch: int) -> dict[ir.Value, BatchPlace]:
    """Where the batch is, for each value where it can be followed.

    All shapes have to be numbers; a value whose shape is not known is left out, and what follows from it.
    """
    return follow_batch(graph, {value: BatchPlace(0) for value in graph.inputs if _starts_with(value, batch)}, batch)


def _starts_with(value: ir.Value, size: int) -> bool:
    return (static_sizes(value) or (0,))[0] == size


def static_sizes(value: ir.Value) -> Sizes | None:
    """The shape, where all of it is numbers."""
    shape = maybe_dims(value)
    if shape is None or not all(isinstance(size, int) for size in shape):
        return None
    return tuple(size for size in shape if isinstance(size, int))


def follow_batch(
    nodes: Iterable[ir.Node],
    starts: Mapping[ir.Value, BatchPlace],
    batch: int,
    sizes_of: Callable[[ir.Value], Sizes | None] = static_sizes,
) -> dict[ir.Value, BatchPlace]:
    """As `batch_places`, through these nodes, from values whose batch is known. `sizes_of`: the shape of a value."""
    places = dict(starts)
    for node in nodes:
        carriers = [source for source in node.inputs if source is not None and source in places]
        before = sizes_of(carriers[0]) if carriers else None
        if before is None or reads_shape(node):
            continue
        inside = _through_body(node, {source: places[source] for source in carriers}, batch, sizes_of)
        for number, output in enumerate(node.outputs):
            sizes = sizes_of(output)
            if sizes is None:
                continue
            place = (
                _place_behind(node, carriers[0], places[carriers[0]], (before, sizes), batch)
                if inside is None
                else inside[number]
            )
            if place is not None and _fits(place, sizes, batch):
                places[output] = place
    return places


def _through_body(
    node: ir.Node,
    places: Mapping[ir.Value, BatchPlace],
    batch: int,
    sizes_of: Callable[[ir.Value], Sizes | None],
) -> Sequence[BatchPlace | None] | None:
    """Where the outputs of a fused operator hold the batch, by the standard nodes that it is made of.

    None for another operator, and for a form of one that is not written out.
    """
    if node.graph is None or not is_written_out(node):
        return None
    try:
        with expansion_of(node, node.graph.opset_imports[""]) as expansion:
            if expansion is None:
                return None
            found = follow_batch(expansion.nodes, places, batch, sizes_of)
            return [None if output is None else found.get(output) for output in expansion.outputs]
    except UnsupportedError:
        return None


def _fits(place: BatchPlace, sizes: Sizes, batch: int) -> bool:
    return 0 <= place.axis < len(sizes) and sizes[place.axis] % (place.outside * batch) == 0


def _place_behind(
    node: ir.Node, source: ir.Value, place: BatchPlace, sizes: tuple[Sizes, Sizes], batch: int
) -> BatchPlace | None:
    """Where the batch is behind a node; `sizes`: before and behind it."""
    before, after = sizes
    if node.op_type in ("Reshape", "Flatten"):
        return regrouped(before, place, after, batch)
    axis = _axis_behind(node, source, place.axis, before, after)
    # Where the size of the axis changes, its entries are repeated, cut or padded.
    if axis is None or not 0 <= axis < len(after) or after[axis] != before[place.axis]:
        return None
    return BatchPlace(axis, place.outside)


def regrouped(before: Sizes, place: BatchPlace, after: Sizes, batch: int) -> BatchPlace | None:
    """Where the batch is in another shape of the same elements.

    A batch of 1 fits at several places. An axis of its own is the likeliest, then the axis it had, then the outermost
    part of another; the last axis, which holds the features, is the least likely.
    """
    in_front = math.prod(before[: place.axis]) * place.outside
    fitting = []
    for axis, size in enumerate(after):
        outside, rest = divmod(in_front, math.prod(after[:axis]))
        if rest == 0 and outside and size % (outside * batch) == 0:
            fitting.append(BatchPlace(axis, outside))

    def unlikely(found: BatchPlace) -> tuple[bool, bool, bool, bool]:
        own = after[found.axis] == batch and found.outside == 1
        return not own, found.axis == len(after) - 1, found != place, found.outside > 1

    return min(fitting, key=unlikely, default=None)


def _axis_behind(node: ir.Node, source: ir.Value, axis: int, before: Sizes, after: Sizes) -> int | None:
    rank, row = len(before), operator_of(node)
    if axis in _reordered_axes(node, rank):
        return None
    if row.counts_images:
        return _axis_behind_indices(node, source, axis, axis + len(after) - rank)
    if node.op_type == "Transpose":
        perm = node.attributes.get_ints("perm") or tuple(reversed(range(rank)))
        return list(perm).index(axis)
    if node.op_type in ("Squeeze", "Unsqueeze"):
        return _axis_beside_ones(node, before, axis, after)
    if node.op_type == "Gather":
        return _axis_behind_gather(node, source, axis, rank)
    if node.op_type in ("MatMul", "Gemm", "Einsum"):
        return _axis_behind_product(node, source, axis, rank)
    if node.op_type.startswith("Reduce") or node.op_type in ("ArgMax", "ArgMin"):
        return _axis_behind_reduction(node, rank, axis, after)
    # Broadcasting counts axes from the last.
    return axis + len(after) - rank if row.broadcasts else axis


def _reordered_axes(node: ir.Node, rank: int) -> Iterable[int]:
    """The axes along which entries of the first input change their places, as far as the node says it."""
    if node.op_type in REORDERED:
        name, default = REORDERED[node.op_type]
        return [int_attribute(node, name, default) % rank]
    given = [None if source is None else constant_of(source) for source in node.inputs[1:]]
    moves: np.ndarray | None = None
    axes: np.ndarray | None = None
    if node.op_type == "CumSum" and given[0] is not None:
        axes, moves = given[0].reshape(-1), np.ones(1)
    elif node.op_type == "Slice":
        axes, steps = (*given, None, None)[2:4]
        moves = None if steps is None else steps - 1
    elif node.op_type == "Pad":
        axes = (*given, None, None)[2]
        moves = np.ones(rank) if given[0] is None else np.abs(given[0].reshape(2, -1)).sum(0)
    moved = () if moves is None else np.flatnonzero(moves)
    return [int(axis if axes is None else axes[axis]) % rank for axis in moved]


def _axis_behind_product(node: ir.Node, source: ir.Value, axis: int, rank: int) -> int | None:
    number = list(node.inputs).index(source)
    if node.op_type == "Einsum":
        letters = einsum_letters(node)
    else:
        shapes = [None if value is None else maybe_dims(value) for value in node.inputs[:2]]
        known = [len(shape) for shape in shapes if shape is not None]
        letters = product_letters(node, *known) if len(known) == len(shapes) else None
        if number > 1:
            # The bias of a Gemm.
            return axis + 2 - rank
    if letters is None:
        return None
    return letters[-1].find(letters[number][axis]) if letters[number][axis] in letters[-1] else None


def _axis_beside_ones(node: ir.Node, before: Sizes, axis: int, after: Sizes) -> int | None:
    given = node.inputs[1] if len(node.inputs) > 1 else None
    longer = max(len(before), len(after))
    if given is None:
        ones = {place for place, size in enumerate(before) if size == 1}
    else:
        stated = constant_of(given)
        if stated is None:
            return None
        ones = {int(place) % longer for place in stated.reshape(-1)}
    kept = [place for place in range(longer) if place not in ones]
    if node.op_type == "Unsqueeze":
        return kept[axis]
    return kept.index(axis) if axis in kept else None


def _axis_behind_indices(node: ir.Node, source: ir.Value, axis: int, from_last: int) -> int | None:
    """Behind an operator that indexes leading axes: the axes behind those are kept, counted from the last."""
    indexed = indexed_axes(node)
    if indexed is None or source is node.inputs[1]:
        return None
    of_data = axis if source is node.inputs[0] else from_last
    return from_last if of_data >= indexed else None


def indexed_axes(node: ir.Node) -> int | None:
    """How many leading axes a GatherND or ScatterND indexes; None for another operator, or if it is not known."""
    if node.op_type not in ("GatherND", "ScatterND") or int_attribute(node, "batch_dims", 0):
        return None
    indices = node.inputs[1]
    last = (maybe_dims(indices) or ())[-1:] if indices is not None else ()
    return last[0] if last and isinstance(last[0], int) else None


def _axis_behind_gather(node: ir.Node, source: ir.Value, axis: int, rank: int) -> int | None:
    gathered = int_attribute(node, "axis", 0) % rank
    indices = node.inputs[1]
    if source is not node.inputs[0] or indices is None or indices.shape is None or axis == gathered:
        return None
    return axis if axis < gathered else axis + len(indices.shape) - 1


def _axis_behind_reduction(node: ir.Node, rank: int, axis: int, after: Sizes) -> int | None:
    if len(after) == rank:
        return axis
    if node.op_type in ("ArgMax", "ArgMin"):
        reduced: Sequence[int] | None = (int_attribute(node, "axis", 0) % rank,)
    else:
        reduced = reduced_axes(node, rank)
    if reduced is None or axis in reduced:
        return None
    return axis - sum(place < axis for place in reduced)


def is_repeated(array: np.ndarray, axis: int) -> bool:
    """Whether all slices along the axis are equal."""
    first = np.take(array, [0], axis)
    return bool((array == first).all())
