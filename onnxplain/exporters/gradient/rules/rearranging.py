"""Operators that sort, select, turn round and fold back: each entry of the output is one of the input, or a sum."""

from __future__ import annotations

import math

import numpy as np
import onnx_ir as ir

from onnxplain.exporters.gradient.rules.indexing import scatter_slices
from onnxplain.exporters.graph.values import static_dims
from onnxplain.exporters.operators.site import Gradients, Site


def top_k(at: Site, g: ir.Value) -> Gradients:
    """Values = X at Indices along `axis`: dX is dValues placed there. Indices have no derivative."""
    values = at.cotangents[0]
    if values is None:
        return [None, None]
    indices = at.repeat_rows(at.branch.raw(at.node.outputs[1]), len(at.input_dims()), values)
    axis = at.attribute("axis", -1)
    return [at.branch.ScatterElements(at.zeros_like(at.value(0), values), indices, values, axis=axis), None]


def compress(at: Site, g: ir.Value) -> Gradients:
    """Y = the slices of X where the condition holds: dY placed there, zeros elsewhere. Without `axis` X is flat."""
    op = at.branch
    chosen = op.Reshape(op.NonZero(at.raw(1)), [-1])
    axis = at.attribute("axis")
    if axis is not None:
        rank = len(at.input_dims())
        return [scatter_slices(at, g, chosen, 1, axis % rank, rank), None]
    zeros = op.Reshape(at.zeros_like(at.value(0), g), [-1])
    return [at.reshape_like_input(op.ScatterElements(zeros, chosen, g)), None]


def reverse_sequence(at: Site, g: ir.Value) -> Gradients:
    """Y = X with the first entries of each sequence in reverse order: dY reversed again."""
    attributes = {name: attr.value for name, attr in at.node.attributes.items()}
    lengths = at.raw(1) if attributes.get("batch_axis", 1) else at.repeat_rows(at.raw(1), 1, g)
    (gradient,) = at.branch.emit("ReverseSequence", [g, lengths], attributes)
    return [gradient, None]


def max_unpool(at: Site, g: ir.Value) -> Gradients:
    """Y = zeros with X placed at flat indices: dX is dY there."""
    op, flat = at.branch, at.branch.Reshape(g, [0, -1])
    # As those of MaxPool, the indices count over the whole batch.
    places = op.Reshape(op.Mod(at.raw(1), op.Shape(flat, start=1)), [0, -1])
    return [at.reshape_like_input(op.GatherElements(flat, at.repeat_rows(places, 2, g), axis=1)), None, None]


def col2im(at: Site, g: ir.Value) -> Gradients:
    """Y = columns added up as blocks of an image: dX are the blocks of dY as columns.

    Cut out by a convolution with one kernel per place of a block.
    """
    size, block = at.constant(1), at.constant(2)
    if size is None or block is None:
        raise at.refuse("its sizes are computed at run time")
    op, places, rank = at.branch, math.prod(int(length) for length in block), len(block)
    kernels = np.eye(places, dtype=np.float32).reshape(places, 1, *(int(length) for length in block))
    columns = op.Conv(
        op.Reshape(g, [-1, 1, *(int(length) for length in size)]),
        kernels,
        strides=list(at.attribute("strides") or (1,) * rank),
        dilations=list(at.attribute("dilations") or (1,) * rank),
        pads=list(at.attribute("pads") or (0,) * 2 * rank),
    )
    return [at.reshape_like_input(columns), None, None]


def center_crop_pad(at: Site, g: ir.Value) -> Gradients:
    """Y = X cropped or padded at both sides to a size: dY padded or cropped back."""
    rank = len(at.input_dims())
    axes = [axis % rank for axis in at.attribute("axes") or range(rank)]
    size_in, size_out = at.input_dims(), at.output_dims()
    begin, end = [0] * rank, [0] * rank
    for axis in axes:
        if size_in[axis] == size_out[axis]:
            continue
        (before,), (after,) = static_dims(at.value(0), (axis,)), static_dims(at.node.outputs[0], (axis,))
        # The odd one out stands at the end, cropped or padded.
        change = before - after
        begin[axis] = abs(change) // 2 * (1 if change > 0 else -1)
        end[axis] = change - begin[axis]
    return [at.branch.Pad(g, [*begin, *end], 0.0), None]
