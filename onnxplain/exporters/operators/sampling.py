"""GridSample and AffineGrid in operators that have a gradient: reading a map at coordinates, and making coordinates.

Jaderberg et al. 2015, Spatial Transformer Networks, eq. 3 to 7. Definitions: Operators.md of onnx.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import onnx_ir as ir

from onnxplain.errors import UnsupportedError
from onnxplain.exporters.graph.branch import Branch
from onnxplain.exporters.graph.values import attribute, constant_of, describe, dims, int_attribute, static_dims

# The coefficient of the cubic kernel (Keys 1981) that GridSample states.
CUBIC_A = -0.75
# Opset 16 called them bilinear and bicubic.
NEIGHBOURS = {"nearest": 1, "linear": 2, "bilinear": 2, "cubic": 4, "bicubic": 4}


def grid_sample(op: Branch, node: ir.Node) -> Sequence[ir.Value]:
    """Y[n, c, p] = Σ weight(p, q) · X[n, c, q] over the neighbours q of p; the weights are products over the axes."""
    x, grid = node.inputs
    assert x is not None and grid is not None
    rank = len(dims(x)) - 2
    sizes = static_dims(x, tuple(range(2, rank + 2)))
    out = static_dims(grid, tuple(range(1, rank + 1)))
    points = math.prod(out)
    mode = str(attribute(node, "mode", "linear"))
    places: ir.Value | None = None
    weights: ir.Value | None = None
    for axis, size in enumerate(sizes):
        # The last axis of the grid counts from the last axis of X: x, y, z.
        coordinate = op.Reshape(op.Gather(grid, rank - 1 - axis, axis=-1), [0, points, 1])
        place, weight = _along_axis(op, node, coordinate, size, mode)
        places = place if places is None else _outer(op, op.Mul(places, float(size)), place, op.Add)
        weights = weight if weights is None else _outer(op, weights, weight, op.Mul)
    assert places is not None and weights is not None
    count = NEIGHBOURS[mode] ** rank
    (channels,) = static_dims(x, (1,))
    indices = op.Expand(op.Cast(op.Reshape(places, [0, 1, points * count]), to=ir.DataType.INT64), [1, channels, 1])
    picked = op.GatherElements(op.Reshape(x, [0, channels, math.prod(sizes)]), indices, axis=2)
    weighted = op.Mul(op.Reshape(picked, [0, channels, points, count]), op.Unsqueeze(weights, [1]))
    return [op.Reshape(op.ReduceSum(weighted, [3], keepdims=0), [0, channels, *out])]


def _along_axis(op: Branch, node: ir.Node, coordinate: ir.Value, size: int, mode: str) -> tuple[ir.Value, ir.Value]:
    """Places [N, P, k] and weights [N, P, k] of the neighbours of points [N, P, 1] along one axis."""
    aligned = bool(int_attribute(node, "align_corners", 0))
    padding = str(attribute(node, "padding_mode", "zeros"))
    if aligned:
        position = op.Mul(op.Add(coordinate, 1.0), (size - 1) / 2)
    else:
        position = op.Sub(op.Mul(op.Add(coordinate, 1.0), size / 2), 0.5)
    bounds = (0.0, size - 1.0) if aligned else (-0.5, size - 0.5)
    neighbours = NEIGHBOURS[mode]
    if neighbours < 4 and padding == "reflection":
        position = _reflected(op, position, *bounds)
    if neighbours < 4 and padding != "zeros":
        position = op.Clip(position, 0.0, size - 1.0)
    if neighbours == 1:
        place, weight = op.Round(position), op.Add(op.Mul(position, 0.0), 1.0)
    else:
        first = op.Floor(position)
        share = op.Sub(position, first)
        if neighbours == 2:
            place, weight = op.Add(first, _steps(0, 1)), op.Concat(op.Sub(1.0, share), share, axis=-1)
        else:
            place, weight = op.Add(first, _steps(-1, 0, 1, 2)), _cubic_weights(op, share)
    if padding == "zeros":
        inside = op.And(op.Greater(place, -0.5), op.Less(place, size - 0.5))
        weight = op.Where(inside, weight, 0.0)
    elif neighbours == 4 and padding == "reflection":
        place = op.Round(_reflected(op, place, *bounds))
    return op.Clip(place, 0.0, size - 1.0), weight


def _steps(*steps: float) -> np.ndarray:
    return np.array(steps, np.float32)


def _cubic_weights(op: Branch, share: ir.Value) -> ir.Value:
    """Keys' kernel at distances 1 + t, t, 1 − t, 2 − t."""
    near = [share, op.Sub(1.0, share)]
    far = [op.Add(share, 1.0), op.Sub(2.0, share)]
    inner = [_polynomial(op, t, (CUBIC_A + 2, -(CUBIC_A + 3), 0.0, 1.0)) for t in near]
    outer = [_polynomial(op, t, (CUBIC_A, -5 * CUBIC_A, 8 * CUBIC_A, -4 * CUBIC_A)) for t in far]
    return op.Concat(outer[0], *inner, outer[1], axis=-1)


def _polynomial(op: Branch, t: ir.Value, coefficients: Sequence[float]) -> ir.Value:
    first, *rest = coefficients
    value = op.Mul(t, first)
    for coefficient in rest[:-1]:
        value = op.Mul(op.Add(value, coefficient), t)
    return op.Add(value, rest[-1])


def _reflected(op: Branch, position: ir.Value, low: float, high: float) -> ir.Value:
    """The position mirrored at both bounds until it lies between them."""
    width = high - low
    if width == 0:
        return op.Mul(position, 0.0)
    turns = op.Div(op.Abs(op.Sub(position, low)), width)
    whole = op.Floor(turns)
    extra = op.Mul(op.Sub(turns, whole), width)
    is_even = op.Less(op.Sub(whole, op.Mul(op.Floor(op.Mul(whole, 0.5)), 2.0)), 0.5)
    return op.Where(is_even, op.Add(extra, low), op.Sub(high, extra))


def _outer(op: Branch, left: ir.Value, right: ir.Value, combine: object) -> ir.Value:
    """[N, P, a] and [N, P, b] combined to [N, P, a · b]."""
    assert callable(combine)
    return op.Reshape(combine(op.Unsqueeze(left, [3]), op.Unsqueeze(right, [2])), [0, 0, -1])


def affine_grid(op: Branch, node: ir.Node) -> Sequence[ir.Value]:
    """The grid of a size, each point (x, y, 1) times θᵀ; onnx's own body has an If in it."""
    theta, wanted = node.inputs
    size = constant_of(wanted)
    if size is None:
        raise UnsupportedError(f"no gradient for {describe(node)}: its size is computed at run time")
    space = [int(length) for length in size[2:]]
    aligned = bool(int_attribute(node, "align_corners", 0))
    ticks = []
    for length in space:
        steps = np.linspace(-1.0, 1.0, length) if length > 1 and aligned else np.zeros(length)
        ticks.append(steps if aligned else (2 * np.arange(length) + 1) / length - 1)
    axes = np.meshgrid(*ticks, indexing="ij")
    points = np.stack([*axes[::-1], np.ones(space)], axis=-1).reshape(-1, len(space) + 1).astype(np.float32)
    grid = op.MatMul(points, op.Transpose(theta, perm=[0, 2, 1]))
    return [op.Reshape(grid, [-1, *space, len(space)])]
