"""Pools and means over space."""

from __future__ import annotations

import itertools
import math

import numpy as np
import onnx_ir as ir

from onnxplain.exporters.graph.values import FLOATS
from onnxplain.exporters.operators.site import Gradients, Site
from onnxplain.exporters.operators.window import Window, pooled_size, read_window, transposed_padding


def global_average_pool(at: Site, g: ir.Value) -> Gradients:
    """Y = mean over space: every position gets dY / (h · w)."""
    return [_spread(at, g, at.spatial(at.value(0)))]


def _spread(at: Site, g: ir.Value, size: tuple[int, ...]) -> ir.Value:
    share = at.branch.Mul(g, 1.0 / math.prod(size))
    return at.branch.Expand(share, [1, 1, *size])


def average_pool(at: Site, g: ir.Value) -> Gradients:
    """Y = window mean: dY divided by the count of each window, added back at the positions of the window."""
    window = read_window(at, tuple(at.attribute("kernel_shape")))
    size_in = at.spatial(at.value(0))
    size_out = pooled_size(window, size_in, bool(at.attribute("ceil_mode", 0)))
    if size_out == (1,) * window.rank and window.kernel == window.extent == size_in and not any(window.pads_begin):
        return [_spread(at, g, size_in)]
    counts = _window_counts(window, size_in, size_out, bool(at.attribute("count_include_pad", 0)))
    return [_add_back(at, at.branch.Mul(g, (1.0 / counts).astype(np.float32)), window, size_in, size_out)]


def _add_back(
    at: Site, share: ir.Value, window: Window, size_in: tuple[int, ...], size_out: tuple[int, ...]
) -> ir.Value:
    """Add the share of each window to all positions that it read: a ConvTranspose with ones, channel by channel."""
    op = at.branch
    pads, output_padding = transposed_padding(window, size_in, size_out)
    spread = op.ConvTranspose(
        op.Reshape(share, [-1, 1, *size_out]),
        np.ones((1, 1, *window.kernel), np.float32),
        strides=list(window.strides),
        dilations=list(window.dilations),
        pads=pads,
        output_padding=output_padding,
    )
    return at.reshape_like_input(spread)


def _window_counts(
    window: Window, size_in: tuple[int, ...], size_out: tuple[int, ...], include_pad: bool
) -> np.ndarray:
    """The number of input positions by which each window divides, shape `size_out`."""
    per_axis = []
    for axis in range(window.rank):
        low, high = 0, size_in[axis]
        if include_pad:
            low, high = -window.pads_begin[axis], size_in[axis] + window.pads_end[axis]
        starts = np.arange(size_out[axis]) * window.strides[axis] - window.pads_begin[axis]
        taps = starts[:, None] + np.arange(window.kernel[axis]) * window.dilations[axis]
        per_axis.append(((taps >= low) & (taps < high)).sum(1))
    counts = per_axis[0]
    for axis_counts in itertools.islice(per_axis, 1, None):
        counts = counts[..., None] * axis_counts
    return np.asarray(counts, dtype=np.float64)


def max_pool(at: Site, g: ir.Value) -> Gradients:
    """Y = window maximum: dY goes to the position that won; a second MaxPool inside the branch finds it."""
    op = at.branch
    if len(at.cotangents) > 1 and at.cotangents[1] is not None:
        raise at.refuse("its output Indices is used, which has no gradient")
    attributes = {name: attr.value for name, attr in at.node.attributes.items() if name != "storage_order"}
    x = at.input(0)
    if at.value(0).dtype not in FLOATS:
        # The indices of the maxima are the same, and not every runtime has an integer MaxPool with Indices.
        x = op.Cast(x, to=ir.DataType.FLOAT)
    _, indices = op.emit("MaxPool", [x], attributes, outputs=2)
    # Indices count over the whole batch; within its image each row of the cotangent finds its own.
    entries = op.Div(op.Size(x), op.Shape(x, start=0, end=1))
    winners = at.repeat_rows(op.Reshape(op.Mod(indices, entries), [0, -1]), 2, g)
    zeros = op.ConstantOfShape(op.Concat(at.rows_of(g), entries, axis=0), value=ir.tensor(np.zeros(1, np.float32)))
    flat = op.ScatterElements(zeros, winners, op.Reshape(g, [0, -1]), axis=1, reduction="add")
    return [at.reshape_like_input(flat)]


def global_max_pool(at: Site, g: ir.Value) -> Gradients:
    """Y = maximum over space: dY goes to the first position that has it."""
    op, size = at.branch, at.spatial(at.value(0))
    channels = at.input_dims()[1]
    flat = op.Reshape(at.input(0), [-1, channels, math.prod(size)])
    best = at.repeat_rows(op.ArgMax(flat, axis=2, keepdims=1), 3, g)
    shape = op.Concat(at.rows_of(g), op.Shape(flat, start=1), axis=0)
    zeros = op.ConstantOfShape(shape, value=ir.tensor(np.zeros(1, np.float32)))
    placed = op.ScatterElements(zeros, best, op.Reshape(g, [-1, channels, 1]), axis=2)
    return [at.reshape_like_input(placed)]


def lp_pool(at: Site, g: ir.Value) -> Gradients:
    """Y = (Σ |X|^p)^(1/p) over windows: dX = sign(X) |X|^(p−1) · Σ dY · Y^(1−p) over the windows that contain X."""
    window = read_window(at, tuple(at.attribute("kernel_shape")))
    size_in = at.spatial(at.value(0))
    size_out = pooled_size(window, size_in, bool(at.attribute("ceil_mode", 0)))
    shares = _add_back(at, _over_norm(at, g), window, size_in, size_out)
    return [at.branch.Mul(shares, _power_of_input(at))]


def global_lp_pool(at: Site, g: ir.Value) -> Gradients:
    """As LpPool with one window over all positions."""
    return [at.branch.Mul(_over_norm(at, g), _power_of_input(at))]


def _over_norm(at: Site, g: ir.Value) -> ir.Value:
    """dY · Y^(1−p), and 0 if the norm is 0."""
    op, y = at.branch, at.output()
    positive = op.Greater(y, 0.0)
    norm = op.Where(positive, y, 1.0)
    return op.Where(positive, op.Mul(g, op.Pow(norm, 1.0 - at.attribute("p", 2))), 0.0)


def _power_of_input(at: Site) -> ir.Value:
    """sign(X) |X|^(p−1)."""
    op, x, p = at.branch, at.input(0), at.attribute("p", 2)
    return op.Mul(op.Sign(x), op.Pow(op.Abs(x), float(p - 1)))
