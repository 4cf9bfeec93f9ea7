"""How operators that only move entries move their positions: crops, pads, other shapes and orders, new sizes."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import numpy.typing as npt
import onnx_ir as ir

from onnxplain.exporters.anatomy.moves import Followed, Known, constant_ints, ended, in_order, shape_of
from onnxplain.exporters.anatomy.places import AxisPlaces, Grid
from onnxplain.exporters.anatomy.positions import EndReason, Positions
from onnxplain.exporters.graph.values import constant_of, int_attribute
from onnxplain.exporters.operators.table import operator_of


def change_shape(node: ir.Node, source: Positions, known: Known) -> Followed:
    """Reshape, Flatten, Squeeze, Unsqueeze: the same entries in the same order."""
    shape = _stated_shape(node, source) or _completed(node.outputs[0], math.prod(source.shape))
    if shape is None:
        return ended(node, EndReason.COMPUTED)
    try:
        return source.map_places(shape, lambda places: places.reshape(source.shape, shape))
    except ValueError:
        return ended(node, EndReason.COMPUTED)


def _stated_shape(node: ir.Node, source: Positions) -> tuple[int, ...] | None:
    """The shape that a Reshape states, for the batch that is counted as 1."""
    stated = constant_ints(node, 1) if node.op_type == "Reshape" else None
    if stated is None:
        return None
    sizes = list(stated)
    if not int_attribute(node, "allowzero", 0):
        sizes = [source.shape[axis] if size == 0 else size for axis, size in enumerate(sizes)]
    return _filled(sizes, math.prod(source.shape))


def _completed(output: ir.Value, entries: int) -> tuple[int, ...] | None:
    """The inferred shape, one open dimension found from the number of entries."""
    if output.shape is None:
        return None
    return _filled([size if isinstance(size, int) else -1 for size in output.shape], entries)


def _filled(sizes: list[int], entries: int) -> tuple[int, ...] | None:
    known = math.prod(size for size in sizes if size >= 0)
    if sizes.count(-1) > 1 or (sizes.count(-1) and (not known or entries % known)):
        return None
    return tuple(entries // known if size < 0 else size for size in sizes)


def follow_transpose(node: ir.Node, source: Positions, known: Known) -> Followed:
    """The axes in another order."""
    perm = tuple(node.attributes.get_ints("perm", ())) or tuple(range(len(source.shape)))[::-1]
    return source.map_places([source.shape[axis] for axis in perm], lambda places: places.transpose(perm))


def take_slice(node: ir.Node, source: Positions, known: Known) -> Followed:
    """A crop, or every n-th position."""
    starts, ends = constant_ints(node, 1), constant_ints(node, 2)
    steps, rank = constant_ints(node, 4), len(source.shape)
    axes = constant_ints(node, 3) if len(node.inputs) > 3 and node.inputs[3] is not None else list(range(rank))
    if starts is None or ends is None or axes is None or (steps is None and len(node.inputs) > 4):
        return ended(node, EndReason.COMPUTED)
    for axis, start, end, step in zip(axes, starts, ends, steps or [1] * len(starts), strict=False):
        indices = (
            np.arange(source.shape[axis % rank])[start:end:step]
            if step > 0
            else _backwards(source.shape[axis % rank], start, end, step)
        )
        source = _take(node, source, axis % rank, indices)
    return source


def _backwards(size: int, start: int, end: int, step: int) -> npt.NDArray[np.int64]:
    """Python's slice, except that the specification counts an end before the beginning from there, not as −1."""
    first = min(start + size if start < 0 else start, size - 1)
    last = max(end + size if end < 0 else end, -1)
    return np.arange(first, last, step)


def _take(node: ir.Node, source: Positions, axis: int, indices: npt.NDArray[np.int64]) -> Positions:
    shape = [len(indices) if number == axis else size for number, size in enumerate(source.shape)]
    return in_order(node, source.map_places(shape, lambda places: places.take(axis, indices)), axis)


def gather(node: ir.Node, source: Positions, known: Known) -> Followed:
    """Entries by constant numbers: a permutation, a crop, one token."""
    indices = constant_of(node.inputs[1])
    if indices is None:
        return ended(node, EndReason.PICKED)
    axis = int_attribute(node, "axis", 0) % len(source.shape)
    picked = np.asarray(indices, np.int64)
    taken = _take(node, source, axis, picked.reshape(-1) % source.shape[axis])
    if picked.ndim == 1:
        return taken
    shape = (*source.shape[:axis], *picked.shape, *source.shape[axis + 1 :])
    return taken.map_places(shape, lambda places: places.reshape(taken.shape, shape))


def pad(node: ir.Node, source: Positions, known: Known) -> Followed:
    """Entries around the map; the values that they take lie nowhere."""
    pads = constant_ints(node, 1)
    if pads is None:
        stated = node.attributes.get("pads")
        pads = None if stated is None else list(stated.as_ints())
    axes = constant_ints(node, 3) if len(node.inputs) > 3 and node.inputs[3] is not None else range(len(source.shape))
    if pads is None or axes is None:
        return ended(node, EndReason.COMPUTED)
    for number, axis in enumerate(axes):
        before, after = pads[number], pads[number + len(pads) // 2]
        axis %= len(source.shape)
        size = source.shape[axis]
        shape = tuple(size + before + after if other == axis else own for other, own in enumerate(source.shape))
        rows, columns = (places.pad(axis, before, after, size) for places in source.both)
        source = Positions(shape, rows, columns, source.end)
    return source


def follow_expand(node: ir.Node, source: Positions, known: Known) -> Followed:
    """One position repeated stays where it was."""
    shape = shape_of(node.outputs[0], {})
    if shape is None:
        return ended(node, EndReason.COMPUTED)
    rank = len(shape)

    def align(places: AxisPlaces) -> AxisPlaces:
        return replace(places, at=places.at.reshape((1,) * (rank - places.at.ndim) + places.at.shape))

    return source.map_places(shape, align)


def follow_tile(node: ir.Node, source: Positions, known: Known) -> Followed:
    """Repeats of the whole: out of order, unless they repeat an axis of one place."""
    repeats = constant_ints(node, 1)
    if repeats is None:
        return ended(node, EndReason.COMPUTED)
    for axis, count in enumerate(repeats):
        if count != 1:
            indices = np.tile(np.arange(source.shape[axis]), count)
            source = _take(node, source, axis, indices)
    return source


def follow_space_to_depth(node: ir.Node, source: Positions, known: Known) -> Followed:
    """Blocks of positions become channels, which lie in the middle of their block."""
    size = int_attribute(node, "blocksize", 1)
    batch, channels, height, width = source.shape
    shape = (batch, channels * size**2, height // size, width // size)
    return _regrid_map(node, source, shape, (size - 1) / 2, float(size), (size - 1) / 2)


def follow_depth_to_space(node: ir.Node, source: Positions, known: Known) -> Followed:
    """Channels become positions: each cell is divided evenly."""
    size = int_attribute(node, "blocksize", 1)
    batch, channels, height, width = source.shape
    shape = (batch, channels // size**2, height * size, width * size)
    return _regrid_map(node, source, shape, (1 / size - 1) / 2, 1 / size, 0.0)


def _regrid_map(
    node: ir.Node, source: Positions, shape: tuple[int, ...], start: float, step: float, spread: float
) -> Followed:
    merged = [places.merge(1) for places in source.both]
    if any(places is None for places in merged):
        return ended(node, EndReason.DISAGREE)
    rows, columns = (places for places in merged if places is not None)
    moved = replace(source, rows=rows, columns=columns)
    for axis in (2, 3):
        if not all(places.is_even_along(axis) for places in moved.both):
            return source.end or ended(node, EndReason.UNEVEN)
        rows, columns = (places.regrid(axis, Grid(start, step, shape[axis], spread)) for places in moved.both)
        moved = Positions(shape, rows, columns, moved.end)
    return moved


def split(node: ir.Node, source: Positions, known: Known) -> list[Followed]:
    """One part per output; a split along positions crops."""
    axis = int_attribute(node, "axis", 0) % len(source.shape)
    sizes = constant_ints(node, 1)
    if sizes is None:
        stated = node.attributes.get("split")
        if stated is not None:
            sizes = list(stated.as_ints())
        elif len(node.inputs) > 1 and node.inputs[1] is not None:
            return [ended(node, EndReason.COMPUTED)] * len(node.outputs)
        else:
            part = -(-source.shape[axis] // len(node.outputs))
            sizes = [min(part, source.shape[axis] - part * number) for number in range(len(node.outputs))]
    ends = np.cumsum(sizes)
    return [_take(node, source, axis, np.arange(end - size, end)) for end, size in zip(ends, sizes, strict=True)]


SHIFTS: dict[str, Callable[[ir.Node, Positions, Known], Followed]] = {
    "DepthToSpace": follow_depth_to_space,
    "Expand": follow_expand,
    "Flatten": change_shape,
    "Gather": gather,
    "Pad": pad,
    "Reshape": change_shape,
    "Slice": take_slice,
    "SpaceToDepth": follow_space_to_depth,
    "Squeeze": change_shape,
    "Tile": follow_tile,
    "Transpose": follow_transpose,
    "Unsqueeze": change_shape,
}


def is_scatter(node: ir.Node) -> bool:
    """Whether the operator puts entries of one tensor into another, at places that indices tell."""
    return operator_of(node).computes in ("ScatterElements", "ScatterND")
