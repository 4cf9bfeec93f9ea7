"""Operators that pick, place, repeat or order values."""

from __future__ import annotations

from typing import cast

import numpy as np
import onnx_ir as ir

from onnxplain.exporters.gradient.rules.resampling import along_axis
from onnxplain.exporters.graph.values import static_dims
from onnxplain.exporters.operators.site import Gradients, Site

# Exporters write one of these for "to the end" of an axis of any size: the largest int32 or the largest int64.
WHOLE = 2**31 - 1


def gather(at: Site, g: ir.Value) -> Gradients:
    """Y = the slices of X at the indices: each gradient goes back to its place; repeated indices are added.

    For a single index (the class token of a transformer) the gradient is padded with zeros. For several indices it is
    multiplied by a matrix of zeros and ones. For indices that are computed at run time it is scattered.
    """
    rank = len(at.input_dims())
    axis = at.attribute("axis", 0) % rank
    indices = at.constant(1)
    if indices is None:
        return [scatter_slices(at, g, at.raw(1), len(at.input_dims(1)), axis, rank), None]
    (size,) = static_dims(at.value(0), (axis,))
    flat = indices.reshape(-1) % size
    if not flat.size:
        return [None, None]
    op = at.branch
    if indices.ndim == 0:
        g = op.Unsqueeze(g, [axis])
    elif indices.ndim > 1:
        shape = [0] * axis + [flat.size] + [-1 if isinstance(d, str) else d for d in at.input_dims()[axis + 1 :]]
        g = op.Reshape(g, shape)
    if flat.size == 1:
        return [_pad_axis(at, g, axis, int(flat[0]), size - 1 - int(flat[0]), rank), None]
    one_hot = np.zeros((flat.size, size), np.float32)
    one_hot[np.arange(flat.size), flat] = 1.0
    return [along_axis(at, g, one_hot, axis, rank), None]


def scatter_slices(at: Site, g: ir.Value, indices: ir.Value, count: int, axis: int, rank: int) -> ir.Value:
    """Slices of input 0 along `axis` back to their places: g has the `count` axes of the indices in place of it.

    They are brought to the front, where ScatterND places and adds.
    """
    op = at.branch
    others = [other for other in range(rank) if other != axis]
    shape = op.Shape(at.raw(0))
    if axis:
        shape = op.Gather(op.Concat(at.rows_of(g), op.Shape(at.raw(0), start=1), axis=0), [axis, *others])
        before, after = range(axis), range(axis + count, rank - 1 + count)
        g = op.Transpose(g, perm=[*range(axis, axis + count), *before, *after])
    zeros = op.ConstantOfShape(shape, value=ir.tensor(np.zeros(1, np.float32)))
    places = op.Unsqueeze(op.Cast(indices, to=ir.DataType.INT64), [-1])
    placed = op.ScatterND(zeros, places, g, reduction="add")
    return op.Transpose(placed, perm=[*range(1, axis + 1), 0, *range(axis + 1, rank)]) if axis else placed


def _pad_axis(at: Site, g: ir.Value, axis: int, before: int, after: int, rank: int) -> ir.Value:
    """Zeros before and after along one axis.

    All axes are given: ONNX Runtime 1.31 moves a Transpose across Pad as if the input `axes` did not exist.
    """
    if not before and not after:
        return g
    pads = np.zeros((2, rank), np.int64)
    pads[:, axis] = before, after
    return at.branch.Pad(g, pads.reshape(-1), 0.0)


def slice_(at: Site, g: ir.Value) -> Gradients:
    """Y = X[start:end:step] along axes: dY goes back to its place, zeros elsewhere."""
    starts, ends = at.constant(1), at.constant(2)
    if starts is None or ends is None:
        raise at.refuse("its bounds are computed at run time")
    rank = len(at.input_dims())
    axes = at.constant(3) if at.has_input(3) else np.arange(len(starts))
    steps = at.constant(4) if at.has_input(4) else np.ones(len(starts), np.int64)
    assert axes is not None and steps is not None
    for start, end, axis, step in zip(starts, ends, axes % rank, steps, strict=True):
        if (start, step) == (0, 1) and end >= WHOLE:
            continue
        (size,) = static_dims(at.value(0), (int(axis),))
        picked = _picked(int(start), int(end), int(step), size)
        if not picked.size:
            return [None] * len(at.node.inputs)
        if step == 1:
            g = _pad_axis(at, g, int(axis), int(picked[0]), size - 1 - int(picked[-1]), rank)
        else:
            g = along_axis(at, g, np.eye(size, dtype=np.float32)[picked], int(axis), rank)
    return [g, *[None] * (len(at.node.inputs) - 1)]


def _picked(start: int, end: int, step: int, size: int) -> np.ndarray:
    """The positions that Slice reads along one axis (Operators.md: negative bounds count from the end, then clamp)."""
    low, high = (0, size) if step > 0 else (-1, size - 1)
    first = min(max(start + size if start < 0 else start, 0), high)
    last = min(max(end + size if end < 0 else end, low), high)
    return np.arange(first, last, step)


def gather_elements(at: Site, g: ir.Value) -> Gradients:
    """Y = X at one index per position along `axis`: dY is added back at that index."""
    axis = at.attribute("axis", 0)
    zeros = at.zeros_like(at.value(0), g)
    return [at.branch.ScatterElements(zeros, at.raw_per_row(1, g), g, axis=axis, reduction="add"), None]


def gather_nd(at: Site, g: ir.Value) -> Gradients:
    """Y = X at index tuples: dY is added back there."""
    if at.attribute("batch_dims", 0):
        raise at.refuse("batch_dims")
    return [at.branch.ScatterND(at.zeros_like(at.value(0), g), at.raw(1), g, reduction="add"), None]


def scatter_nd(at: Site, g: ir.Value) -> Gradients:
    """Y = X with updates placed at index tuples: dX is dY without those places, the updates get dY at those places."""
    if at.attribute("reduction", "none") != "none":
        raise at.refuse("found a reduction, expected none: only placing is supported")
    op, indices = at.branch, at.raw(1)
    dx = op.ScatterND(g, indices, at.zeros_like(at.value(2), g)) if at.needs(0) else None
    return [dx, None, op.GatherND(g, indices) if at.needs(2) else None]


def scatter_elements(at: Site, g: ir.Value) -> Gradients:
    """As ScatterND, one index per position along `axis`."""
    if at.attribute("reduction", "none") != "none":
        raise at.refuse("found a reduction, expected none: only placing is supported")
    op, indices, axis = at.branch, at.raw_per_row(1, g), at.attribute("axis", 0)
    dx = op.ScatterElements(g, indices, at.zeros_like(at.value(2), g), axis=axis) if at.needs(0) else None
    return [dx, None, op.GatherElements(g, indices, axis=axis) if at.needs(2) else None]


def split(at: Site, g: ir.Value) -> Gradients:
    """Y_i = parts of X along `axis`: dX is the concatenated dY_i, with zeros for a part that is not used."""
    op, axis = at.branch, at.attribute("axis", 0)
    parts = []
    for cotangent, output in zip(at.cotangents, at.node.outputs, strict=True):
        if cotangent is None:
            shape = op.Shape(op.raw(output))
            if axis % len(at.input_dims()):
                shape = op.Concat(at.rows_of(g), op.Shape(op.raw(output), start=1), axis=0)
            cotangent = op.ConstantOfShape(shape, value=ir.tensor(np.zeros(1, np.float32)))
        parts.append(cotangent)
    return [op.Concat(*parts, axis=axis), None]


def expand(at: Site, g: ir.Value) -> Gradients:
    """Y = X broadcast: the walk sums the gradient."""
    return [g, None]


def tile(at: Site, g: ir.Value) -> Gradients:
    """Y = X repeated along each axis: the gradients of the repeats are added."""
    repeats = at.constant(1)
    if repeats is None:
        raise at.refuse("its repeats are computed at run time")
    op, rank = at.branch, len(repeats)
    for axis in range(rank - 1, -1, -1):
        count = int(repeats[axis])
        if count > 1:
            # [.., count · d, ..] → [.., count, d, ..] → sum over count
            shape: list[int] = [0] * axis + [count, *(_size(at, later) for later in range(axis, rank))]
            g = op.ReduceSum(op.Reshape(g, shape), [axis], keepdims=0)
    return [g, None]


def _size(at: Site, axis: int) -> int:
    size = at.input_dims()[axis]
    return -1 if isinstance(size, str) else size


def cum_sum(at: Site, g: ir.Value) -> Gradients:
    """Y = running sum along an axis: the running sum of dY from the other end."""
    reverse, exclusive = at.attribute("reverse", 0), at.attribute("exclusive", 0)
    return [at.branch.CumSum(g, at.raw(1), reverse=1 - reverse, exclusive=exclusive), None]


def trilu(at: Site, g: ir.Value) -> Gradients:
    """Y = the upper or lower triangle of X: dX is the same triangle of dY."""
    operands = [g, *([at.raw(1)] if at.has_input(1) else [])]
    return [at.branch.Trilu(*operands, upper=at.attribute("upper", 1)), None]


def depth_to_space(at: Site, g: ir.Value) -> Gradients:
    """Y = channels rearranged to positions: dX is dY rearranged back."""
    op, block = at.branch, at.attribute("blocksize")
    if at.attribute("mode", "DCR") == "DCR":
        return [op.SpaceToDepth(g, blocksize=block)]
    channels, height, width = cast("tuple[int, int, int]", static_dims(at.value(0), (1, 2, 3)))
    parts = op.Reshape(g, [-1, channels // block**2, height, block, width, block])
    return [op.Reshape(op.Transpose(parts, perm=[0, 1, 3, 5, 2, 4]), [-1, channels, height, width])]


def space_to_depth(at: Site, g: ir.Value) -> Gradients:
    """Y = positions rearranged to channels: dX is dY rearranged back."""
    return [at.branch.DepthToSpace(g, blocksize=at.attribute("blocksize"), mode="DCR")]
