"""Pools and means over space."""

from __future__ import annotations

import itertools
import math

import numpy as np
import onnx_ir as ir

from onnxplain.exporters.rules.site import Gradients, Site
from onnxplain.exporters.rules.window import Window, pooled_size, read_window, transposed_padding
from onnxplain.exporters.values import reduced_axes, static_dims


def global_average_pool(at: Site, g: ir.Value) -> Gradients:
    """Y = mean over space: every position gets dY / (h · w)."""
    return [_spread(at, g, at.spatial(at.value(0)))]


def _spread(at: Site, g: ir.Value, size: tuple[int, ...]) -> ir.Value:
    share = at.branch.Mul(g, 1.0 / math.prod(size))
    return at.branch.Expand(share, [1, 1, *size])


def reduce_mean(at: Site, g: ir.Value) -> Gradients:
    """Y = mean over `axes`: dX = dY / count, repeated along the axes."""
    op, rank = at.branch, len(at.input_dims())
    reduced = reduced_axes(at.node, rank)
    if reduced is None:
        raise at.refuse("its axes are computed at run time")
    sizes = static_dims(at.value(0), reduced)
    if not at.attribute("keepdims", 1):
        g = op.Unsqueeze(g, list(reduced))
    repeats = [1] * rank
    for axis, size in zip(reduced, sizes, strict=True):
        repeats[axis] = size
    return [op.Expand(op.Mul(g, 1.0 / math.prod(sizes)), repeats), None]


def average_pool(at: Site, g: ir.Value) -> Gradients:
    """Y = window mean: dY over the count of each window, added back where the window lay.

    The adding back is a ConvTranspose with a kernel of ones on one channel at a time.
    """
    op = at.branch
    window = read_window(at, tuple(at.attribute("kernel_shape")))
    size_in = at.spatial(at.value(0))
    size_out = pooled_size(window, size_in, bool(at.attribute("ceil_mode", 0)))
    if size_out == (1,) * window.rank and window.kernel == size_in and not any(window.pads_begin):
        return [_spread(at, g, size_in)]
    pads, output_padding = transposed_padding(window, size_in, size_out)
    counts = _window_counts(window, size_in, size_out, bool(at.attribute("count_include_pad", 0)))
    share = op.Mul(g, (1.0 / counts).astype(np.float32))
    spread = op.ConvTranspose(
        op.Reshape(share, [-1, 1, *size_out]),
        np.ones((1, 1, *window.kernel), np.float32),
        strides=list(window.strides),
        dilations=list(window.dilations),
        pads=pads,
        output_padding=output_padding,
    )
    return [at.reshape_like_input(spread)]


def _window_counts(
    window: Window, size_in: tuple[int, ...], size_out: tuple[int, ...], include_pad: bool
) -> np.ndarray:
    """How many input positions each window divides by, shape `size_out`."""
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
    """Y = window maximum: dY goes to the position that won, told by a second MaxPool inside the branch."""
    op = at.branch
    if len(at.cotangents) > 1 and at.cotangents[1] is not None:
        raise at.refuse("a gradient of its Indices")
    attributes = {name: attr.value for name, attr in at.node.attributes.items() if name != "storage_order"}
    x = at.input(0)
    _, indices = op.emit("MaxPool", [x], attributes, outputs=2)
    zeros = op.ConstantOfShape(op.Reshape(op.Size(x), [1]), value=ir.tensor(np.zeros(1, np.float32)))
    flat = op.ScatterElements(zeros, op.Reshape(indices, [-1]), op.Reshape(g, [-1]), reduction="add")
    return [at.reshape_like_input(flat)]
