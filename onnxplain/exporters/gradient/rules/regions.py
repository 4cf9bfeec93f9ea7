"""RoiAlign (He et al. 2017, Mask R-CNN, section 3): regions of a map, read at samples between its positions."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import onnx_ir as ir

from onnxplain.exporters.graph.branch import Branch
from onnxplain.exporters.operators.site import Gradients, Site

VERTICAL, HORIZONTAL = 0, 1


def roi_align(at: Site, g: ir.Value) -> Gradients:
    """Samples S_r = A_r X_b Bᵀ_r of region r in image b; Y the mean of each bin: dX_b += Aᵀ dS B.

    A and B hold the bilinear weights of the samples along the two axes. In mode max Y is the largest product of a
    weight with one of a sample's four corners, as ONNX Runtime and onnx's reference compute it. Regions count as
    constants, as in torchvision.
    """
    if at.needs(2):
        raise at.refuse("its batch indices depend on the layer")
    op = at.branch
    images = op.Cast(at.raw(2), to=ir.DataType.INT64)
    rows, columns = (_samples(at, axis) for axis in (VERTICAL, HORIZONTAL))
    if at.attribute("mode", "avg") == "avg":
        # The weights of a bin's samples add up before the product.
        left, right, shares = rows.means(), columns.means(), g
    else:
        left, right = rows.corners(), columns.corners()
        shares = _to_the_largest(at, g, images, rows, columns)
    regions = op.MatMul(op.MatMul(op.Transpose(left, perm=[0, 1, 3, 2]), shares), right)
    gradient = op.ScatterND(at.zeros_like(at.value(0), g), op.Unsqueeze(images, [-1]), regions, reduction="add")
    return [gradient, None, None]


def _to_the_largest(at: Site, g: ir.Value, images: ir.Value, rows: _Samples, columns: _Samples) -> ir.Value:
    """dY at the corner that won, in equal parts where several did; zeros at the others.

    Shape [R, C, bins · 2k, bins · 2k].
    """
    op = at.branch
    chosen = op.Gather(at.input(0), images, axis=0)
    corners = op.MatMul(op.MatMul(rows.corners(), chosen), op.Transpose(columns.corners(), perm=[0, 1, 3, 2]))
    shape = op.Concat(
        *(op.constant(np.array([0, 0, rows.bins], np.int64)), op.Shape(rows.taken_corners(), start=2, end=3)),
        *(op.constant(np.array([columns.bins], np.int64)), op.Shape(columns.taken_corners(), start=2, end=3)),
        axis=0,
    )
    # [R, C, bins, 2k, bins, 2k]
    split = op.Reshape(corners, shape)
    counted = op.And(op.Unsqueeze(rows.taken_corners(), [1, 4, 5]), op.Unsqueeze(columns.taken_corners(), [1, 2, 3]))
    largest = op.ReduceMax(op.Where(counted, split, float(np.finfo(np.float32).min)), [3, 5], keepdims=1)
    won = op.Cast(op.And(op.Equal(split, largest), counted), to=ir.DataType.FLOAT)
    share = op.Div(op.Unsqueeze(g, [3, 5]), op.ReduceSum(won, [3, 5], keepdims=1))
    return op.Reshape(op.Mul(won, share), op.Shape(corners))


@dataclass(frozen=True)
class _Samples:
    """The samples of all regions along one axis of the map; k of each bin, or fewer.

    `position` float32 [R, bins, k, 1], moved to the border of the map; `inside` bool, the same shape: whether it was
    near enough to count. `taken` bool [R, bins, k]: whether the bin has so many samples. `count` float32 [R, 1, 1]: how
    many it has.
    """

    op: Branch
    bins: int
    size: int
    position: ir.Value
    inside: ir.Value
    taken: ir.Value
    count: ir.Value

    def means(self) -> ir.Value:
        """[R, 1, bins, size]: the mean weight of a bin's samples."""
        op = self.op
        counted = op.Where(op.Unsqueeze(self.taken, [3]), op.Add(*self._weights()), 0.0)
        return op.Unsqueeze(op.Div(op.ReduceSum(counted, [2], keepdims=0), self.count), [1])

    def corners(self) -> ir.Value:
        """[R, 1, bins · 2k, size]: the weights of the two neighbours of each sample, one by one."""
        both = self.op.Concat(*self._weights(), axis=2)
        return self.op.Unsqueeze(self.op.Reshape(both, [0, -1, self.size]), [1])

    def taken_corners(self) -> ir.Value:
        """As `taken`, bool [R, bins, 2k]."""
        return self.op.Concat(self.taken, self.taken, axis=2)

    def _weights(self) -> tuple[ir.Value, ir.Value]:
        """[R, bins, k, size] each: the weights of the neighbour before and of that behind, zeros elsewhere."""
        op, places = self.op, np.arange(self.size, dtype=np.float32)
        before = op.Floor(self.position)
        share = op.Sub(self.position, before)
        read = (op.Sub(places, before), op.Sub(places, op.Add(before, 1.0)))
        first, second = (op.And(self.inside, op.Less(op.Abs(distance), 0.5)) for distance in read)
        return op.Where(first, op.Sub(1.0, share), 0.0), op.Where(second, share, 0.0)


def _samples(at: Site, axis: int) -> _Samples:
    """Operators.md: a region is divided into bins, a bin into `sampling_ratio` samples, or into one per position."""
    op = at.branch
    size = at.spatial(at.value(0))[axis]
    bins = at.attribute("output_height" if axis == VERTICAL else "output_width", 1)
    scale, half = at.attribute("spatial_scale", 1.0), at.attribute("coordinate_transformation_mode", "half_pixel")
    # A box is x1, y1, x2, y2.
    start, end = (op.Gather(at.input(1), 1 - axis + 2 * side, axis=1) for side in (0, 1))
    start, end = (op.Sub(op.Mul(side, float(scale)), 0.5 if half == "half_pixel" else 0.0) for side in (start, end))
    length = op.Sub(end, start)
    if half != "half_pixel":
        length = op.Max(length, 1.0)
    bin_length = op.Mul(length, 1.0 / bins)
    ratio = at.attribute("sampling_ratio", 0)
    if ratio > 0:
        count, steps = op.Add(op.Mul(bin_length, 0.0), float(ratio)), op.constant(np.arange(ratio, dtype=np.float32))
    else:
        count = op.Max(op.Ceil(bin_length), 1.0)
        steps = op.Range(0.0, op.ReduceMax(count, keepdims=0), 1.0)
    start, bin_length, count = (op.Unsqueeze(value, [1, 2]) for value in (start, bin_length, count))
    place = op.Add(op.Div(op.Add(steps, 0.5), count), np.arange(bins, dtype=np.float32).reshape(bins, 1))
    position = op.Unsqueeze(op.Add(start, op.Mul(bin_length, place)), [3])
    outside = op.Or(op.Less(position, -1.0), op.Greater(position, float(size)))
    taken = op.Expand(op.Less(steps, count), [1, bins, 1])
    return _Samples(op, bins, size, op.Clip(position, 0.0, size - 1.0), op.Not(outside), taken, count)
