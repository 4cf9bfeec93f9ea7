"""Operators that move values without computing anything."""

from __future__ import annotations

import onnx_ir as ir

from onnxplain.exporters.graph.values import static_dims
from onnxplain.exporters.operators.site import Gradients, Site


def reshape(at: Site, g: ir.Value) -> Gradients:
    """Reshape, Flatten, Squeeze, Unsqueeze: dX is dY in the shape of the input."""
    return [at.reshape_like_input(g), None]


def transpose(at: Site, g: ir.Value) -> Gradients:
    """Y = X with permuted axes: dX is dY with the inverse permutation."""
    rank = len(at.input_dims())
    perm = list(at.attribute("perm") or reversed(range(rank)))
    return [at.branch.Transpose(g, perm=[perm.index(axis) for axis in range(rank)])]


def concat(at: Site, g: ir.Value) -> Gradients:
    """Y = inputs concatenated along `axis`: each gets its own part of dY back."""
    axis = at.attribute("axis")
    gradients: list[ir.Value | None] = []
    start = 0
    for index in range(len(at.node.inputs)):
        (size,) = static_dims(at.value(index), (axis,))
        part = at.branch.Slice(g, [start], [start + size], [axis]) if at.needs(index) else None
        gradients.append(part)
        start += size
    return gradients
