"""Following the batch of a graph whose batch is a number: where each value holds its images."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import onnx_ir as ir

from onnxplain.exporters.file.dependence import reads_shape
from onnxplain.exporters.graph.values import constant_of, int_attribute, maybe_dims, reduced_axes

Sizes = tuple[int, ...]


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
        if not carriers or reads_shape(node):
            continue
        for output in node.outputs:
            sizes, before = sizes_of(output), sizes_of(carriers[0])
            place = None
            if sizes is not None and before is not None:
                place = _place_behind(node, carriers[0], places[carriers[0]], (before, sizes), batch)
            if sizes is not None and place is not None and _fits(place, sizes, batch):
                places[output] = place
    return places


def _fits(place: BatchPlace, sizes: Sizes, batch: int) -> bool:
    return 0 <= place.axis < len(sizes) and sizes[place.axis] % (place.outside * batch) == 0


def _place_behind(
    node: ir.Node, source: ir.Value, place: BatchPlace, sizes: tuple[Sizes, Sizes], batch: int
) -> BatchPlace | None:
    """Where the batch is behind a node; `sizes`: before and behind it."""
    before, after = sizes
    if node.op_type in ("Reshape", "Flatten"):
        return regrouped(before, place, after, batch)
    axis = _axis_behind(node, source, place.axis, len(before), after)
    return None if axis is None else BatchPlace(axis, place.outside)


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


def _axis_behind(node: ir.Node, source: ir.Value, axis: int, rank: int, after: Sizes) -> int | None:
    if node.op_type == "Transpose":
        perm = node.attributes.get_ints("perm") or tuple(reversed(range(rank)))
        return list(perm).index(axis)
    if node.op_type in ("Squeeze", "Unsqueeze"):
        return _axis_beside_ones(node, rank, axis, after)
    if node.op_type == "Gather":
        return _axis_behind_gather(node, source, axis, rank)
    if node.op_type.startswith("Reduce") or node.op_type in ("ArgMax", "ArgMin"):
        return _axis_behind_reduction(node, rank, axis, after)
    # Broadcasting counts axes from the last.
    return axis + len(after) - rank


def _axis_beside_ones(node: ir.Node, rank: int, axis: int, after: Sizes) -> int | None:
    places = constant_of(node.inputs[1]) if len(node.inputs) > 1 else None
    if places is None:
        return None
    longer = max(rank, len(after))
    ones = {int(place) % longer for place in places.reshape(-1)}
    kept = [place for place in range(longer) if place not in ones]
    if node.op_type == "Unsqueeze":
        return kept[axis]
    return kept.index(axis) if axis in kept else None


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
