"""How operators move the positions of what they read: one function per kind, one row per operator that needs its own.

An operator without a row here follows the field `places` of the operators' table; one that the table does not know goes
through the nodes that it is made of, or ends the frame.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np
import onnx_ir as ir

from onnxplain.exporters.anatomy.places import AxisPlaces, Grid, join, meet
from onnxplain.exporters.anatomy.positions import EndReason, FrameEnd, Positions
from onnxplain.exporters.graph.branch import Branch
from onnxplain.exporters.graph.values import constant_of, describe, int_attribute, maybe_dims, reduced_axes
from onnxplain.exporters.operators.site import Site
from onnxplain.exporters.operators.table import look_up, operator_of
from onnxplain.exporters.operators.window import Window, read_transposed_window, read_window

Followed = Positions | FrameEnd
Known = Mapping[ir.Value, Followed]
FIRST_SPATIAL = 2


def ended(node: ir.Node, reason: EndReason) -> FrameEnd:
    """The end of the frame at a node."""
    return FrameEnd(reason, describe(node))


def known_inputs(node: ir.Node, known: Known) -> list[tuple[int, Followed]]:
    """The inputs that depend on the image, with their number."""
    return [(number, known[value]) for number, value in enumerate(node.inputs) if value is not None and value in known]


def shape_of(value: ir.Value | None, known: Known) -> tuple[int, ...] | None:
    """The value's shape, a batch of any size as 1; None where more is open."""
    if value is None:
        return None
    found = known.get(value)
    if isinstance(found, Positions):
        return found.shape
    shape = maybe_dims(value)
    if shape is None or any(isinstance(size, str) for size in shape[1:]):
        return None
    return tuple(size if isinstance(size, int) else 1 for size in shape)


def _align(places: AxisPlaces, rank: int) -> AxisPlaces:
    return replace(places, at=places.at.reshape((1,) * (rank - places.at.ndim) + places.at.shape))


def move_nothing(node: ir.Node, known: Known) -> Followed:
    """Entry by entry, operands broadcast against each other; they must agree where they have places."""
    inputs = known_inputs(node, known)
    placed = [found for _, found in inputs if isinstance(found, Positions)]
    if not placed:
        return next(found for _, found in inputs if isinstance(found, FrameEnd))
    broadcasts = look_up("", operator_of(node).computes).broadcasts
    shapes = [shape_of(value, known) for value in node.inputs if value is not None] if broadcasts else []
    try:
        shape = np.broadcast_shapes(placed[0].shape, *(each for each in shapes if each is not None))
    except ValueError:
        return ended(node, EndReason.UNKNOWN)
    rank = len(shape)
    together = [
        each
        for each in placed
        if len(each.shape) <= rank
        and all(size in (1, own) for size, own in zip(each.shape[::-1], shape[::-1], strict=False))
    ]
    rows, columns = (
        meet([_align(places, rank) for places in axis]) for axis in zip(*(p.both for p in together), strict=True)
    )
    if rows is None or columns is None:
        return ended(node, EndReason.DISAGREE)
    result = Positions(shape, rows, columns, _first_end(together))
    for (number, found), value in ((each, node.inputs[each[0]]) for each in inputs):
        if isinstance(found, FrameEnd) and (broadcasts or number == 0) and not _is_one_place(value, result):
            return found
    return result


def _first_end(operands: Sequence[Positions]) -> FrameEnd | None:
    """Positions that are in order win over such as are not: these have no say in where the result lies."""
    return None if any(each.end is None for each in operands) else operands[0].end


def _is_one_place(value: ir.Value | None, result: Positions) -> bool:
    """Whether an operand has one entry only along every axis on which the result's places differ."""
    shape = None if value is None else maybe_dims(value)
    if shape is None:
        return False
    sizes = (1,) * (len(result.shape) - len(shape)) + tuple(shape)
    return all(size == 1 for axis, size in enumerate(sizes) if result.varies_along(axis))


def slide_window(node: ir.Node, known: Known) -> Followed:
    """Convolutions and pools: each result lies at the middle of its window."""
    source = None if node.inputs[0] is None else known.get(node.inputs[0])
    if not isinstance(source, Positions):
        return source or ended(node, EndReason.UNKNOWN)
    site = Site(node, Branch("frames"), frozenset(), ())
    out = shape_of(node.outputs[0], {})
    transposed = operator_of(node).computes == "ConvTranspose"
    kernel = _kernel_of(site)
    if out is None or kernel is None:
        return ended(node, EndReason.COMPUTED)
    if source.is_nowhere:
        return source.map_places((source.shape[0], *out[1:]), lambda places: places.nowhere(len(out)))
    window = read_transposed_window(site, kernel) if transposed else read_window(site, kernel)
    merged = [places.merge(1) for places in source.both]
    if any(places is None for places in merged):
        return ended(node, EndReason.DISAGREE)
    rows, columns = (places for places in merged if places is not None)
    moved = replace(source, rows=rows, columns=columns)
    for axis in range(window.rank):
        tensor_axis = FIRST_SPATIAL + axis
        same_size = out[tensor_axis] == source.shape[tensor_axis]
        if same_size and (window.kernel[axis], window.strides[axis], window.pads_begin[axis]) == (1, 1, 0):
            continue
        if not all(places.is_even_along(tensor_axis) for places in moved.both):
            return source.end or ended(node, EndReason.UNEVEN)
        moved = _slide_along(moved, window, axis, out[tensor_axis], transposed=transposed)
    return replace(moved, shape=(source.shape[0], *out[1:]))


def _slide_along(source: Positions, window: Window, axis: int, count: int, *, transposed: bool) -> Positions:
    stride, spread = window.strides[axis], (window.extent[axis] - 1) / 2
    start, step = spread - window.pads_begin[axis], float(stride)
    if transposed:
        start, step, spread = -start / stride, 1 / stride, spread / stride
    grid = Grid(start, step, count, spread)
    return source.map_places(source.shape, lambda places: places.regrid(FIRST_SPATIAL + axis, grid))


def _kernel_of(site: Site) -> tuple[int, ...] | None:
    stated = site.attribute("kernel_shape")
    if stated:
        return tuple(stated)
    weight = operator_of(site.node).weight
    shape = None if weight is None else maybe_dims(site.value(weight))
    sizes = [size for size in (shape or ())[2:] if isinstance(size, int)]
    return tuple(sizes) if shape is not None and sizes and len(sizes) == len(shape) - 2 else None


def reduce_axes(node: ir.Node, known: Known) -> Followed:
    """Sums and means along axes: of places that differ there nothing is left."""
    source = None if node.inputs[0] is None else known.get(node.inputs[0])
    if not isinstance(source, Positions):
        return source or ended(node, EndReason.UNKNOWN)
    rank = len(source.shape)
    if node.op_type.startswith("Reduce"):
        axes, keepdims = reduced_axes(node, rank), bool(int_attribute(node, "keepdims", 1))
    elif node.op_type in ("ArgMax", "ArgMin"):
        axes, keepdims = (int_attribute(node, "axis", 0) % rank,), bool(int_attribute(node, "keepdims", 1))
    else:
        axes, keepdims = tuple(range(FIRST_SPATIAL, rank)), True
    if axes is None:
        return ended(node, EndReason.COMPUTED)
    kept = [1 if axis in axes else size for axis, size in enumerate(source.shape)]
    shape = kept if keepdims else [size for axis, size in enumerate(kept) if axis not in axes]
    return or_mixed(node, source, source.map_places(shape, lambda places: places.reduce(axes, keepdims)))


def or_mixed(node: ir.Node, source: Positions, result: Positions) -> Positions:
    """The result, which says at which node its positions were mixed."""
    lost = result.rows.is_nowhere or result.columns.is_nowhere
    return replace(result, end=source.end or ended(node, EndReason.MIXED)) if lost else result


def lay_side_by_side(node: ir.Node, known: Known) -> Followed:
    """Concat: along channels the operands must agree; along positions they must go on from each other."""
    inputs = known_inputs(node, known)
    for _, found in inputs:
        if isinstance(found, FrameEnd):
            return found
    first = next(found for _, found in inputs if isinstance(found, Positions))
    rank = len(first.shape)
    axis = int_attribute(node, "axis", 0) % rank
    every = range(2, len(node.inputs), 3) if operator_of(node).twin else range(len(node.inputs))
    operands, sizes = [], []
    for number in every:
        value = node.inputs[number]
        here, shape = known.get(value) if value is not None else None, shape_of(value, known)
        if shape is None or len(shape) != rank:
            return ended(node, EndReason.COMPUTED)
        sizes.append(shape[axis])
        operands.append(here if isinstance(here, Positions) else first.map_places(shape, lambda p: p.nowhere(rank)))
    rows, columns = (join(axes, sizes, axis) for axes in zip(*(each.both for each in operands), strict=True))
    shape = (*first.shape[:axis], sum(sizes), *first.shape[axis + 1 :])
    return in_order(node, Positions(shape, rows, columns, _first_end(operands)), axis)


def in_order(node: ir.Node, result: Positions, *axes: int) -> Positions:
    """The result, which says at which node its positions lost their order along some axes; or have it again."""
    orderly = all(
        places.is_even_along(axis) or places.merge(axis) is not None
        for places in result.both
        for axis in range(len(result.shape))
        if axis in axes
    )
    if orderly:
        return replace(result, end=None) if not result.is_nowhere else result
    return replace(result, end=result.end or ended(node, EndReason.MOVED))


def constant_ints(node: ir.Node, index: int) -> list[int] | None:
    """The whole numbers of an input that is constant, None where it is not or is missing."""
    if index >= len(node.inputs) or node.inputs[index] is None:
        return None
    content = constant_of(node.inputs[index])
    return None if content is None else [int(number) for number in np.asarray(content).reshape(-1)]
