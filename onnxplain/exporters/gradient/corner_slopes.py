"""The derivative of a box's corners with respect to the numbers that code it: one row per box code.

Every code is ``corners = J · s(numbers) + constants`` with a constant matrix J and a function s of each number (of each
side's bins, for distances). So the derivative is ``J ∘ s'(numbers)``. The codes: runtime/detection/box_codes.py.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
import onnx_ir as ir

from onnxplain.contract import BOX_COORDINATES
from onnxplain.contract.detectors import DetectorLayout
from onnxplain.contract.detectors.layout import BoxCode
from onnxplain.exporters.graph.branch import Branch

# x1, y1, x2, y2 from cx, cy, w, h.
AROUND = np.array([[1, 0, -0.5, 0], [0, 1, 0, -0.5], [1, 0, 0.5, 0], [0, 1, 0, 0.5]], np.float32)
SWAPPED = np.eye(4, dtype=np.float32)[[1, 0, 3, 2]]
# From the distances to the left, upper, right and lower side.
OUTWARDS = np.diag(np.array([-1, -1, 1, 1], np.float32))


@dataclass(frozen=True)
class CodedBoxes:
    """The coded boxes of some targets: `numbers` float32 [T, W], and the stride of their cells, float32 [T, 1].

    `stride` is None for layouts without cells. `size_hw`: of the model's input. `stride_pixels`: the stride of a layout
    with a single one.
    """

    numbers: ir.Value
    stride: ir.Value | None
    size_hw: tuple[int, int]
    stride_pixels: int = 1


@dataclass(frozen=True)
class CornerSlope:
    """`matrix`: J, float32 [4, 4]. `slope`: s', float32 [T, W] or [T, 1]; None where s is the number itself."""

    matrix: np.ndarray
    slope: Callable[[Branch, CodedBoxes], ir.Value] | None = None


def _of_grid_exp(branch: Branch, boxes: CodedBoxes) -> ir.Value:
    """cx = (column + x) · s, w = exp(w) · s."""
    assert boxes.stride is not None
    sizes = branch.Exp(branch.Slice(boxes.numbers, [2], [4], [1]))
    ones = np.ones((1, 2), np.float32)
    spread = branch.Expand(ones, branch.Shape(sizes))
    return branch.Mul(branch.Concat(spread, sizes, axis=1), boxes.stride)


def _of_bins(branch: Branch, boxes: CodedBoxes) -> ir.Value:
    """d = s · Σ_i p_i i with p the softmax of the bins: ∂d/∂bin_i = s · p_i (i − Σ_j p_j j)."""
    assert boxes.stride is not None
    bins = branch.Reshape(boxes.numbers, [0, BOX_COORDINATES, -1])
    shares = branch.Softmax(bins, axis=2)
    last = branch.Squeeze(branch.Shape(bins, start=2, end=3), [0])
    index = branch.Cast(branch.Range(0, last, 1), to=ir.DataType.FLOAT)
    mean = branch.ReduceSum(branch.Mul(shares, index), [2], keepdims=1)
    slope = branch.Mul(shares, branch.Sub(index, mean))
    return branch.Mul(branch.Reshape(slope, branch.Shape(boxes.numbers)), boxes.stride)


def _of_tanh_grid(branch: Branch, boxes: CodedBoxes) -> ir.Value:
    """cx = (tanh(x) + column) / columns, w = sigmoid(w)."""
    height, width = boxes.size_hw
    counts = np.array([[-(-width // boxes.stride_pixels), -(-height // boxes.stride_pixels)]], np.float32)
    moved = branch.Tanh(branch.Slice(boxes.numbers, [0], [2], [1]))
    sizes = branch.Sigmoid(branch.Slice(boxes.numbers, [2], [4], [1]))
    centre = branch.Div(branch.Sub(1.0, branch.Mul(moved, moved)), counts)
    return branch.Concat(centre, branch.Mul(sizes, branch.Sub(1.0, sizes)), axis=1)


CORNER_SLOPES: Mapping[BoxCode, CornerSlope] = {
    "xyxy": CornerSlope(np.eye(4, dtype=np.float32)),
    "yxyx": CornerSlope(SWAPPED),
    "cxcywh": CornerSlope(AROUND),
    "grid-exp": CornerSlope(AROUND, _of_grid_exp),
    "ltrb-bins": CornerSlope(OUTWARDS, _of_bins),
    "tanh-grid": CornerSlope(AROUND, _of_tanh_grid),
    "anchor-offset": CornerSlope(AROUND),
}
"""By name of the box code."""


def corner_slopes(branch: Branch, layout: DetectorLayout, boxes: CodedBoxes, corner: ir.Value) -> ir.Value:
    """The derivative of a corner of each target, in pixels of the input, float32 [T, W].

    `corner`: int64 [T], 0 to 3 for x1, y1, x2, y2.
    """
    row = CORNER_SLOPES[layout.box]
    height, width = boxes.size_hw
    scale = np.array([[width], [height], [width], [height]], np.float32) if layout.normalized else np.float32(1)
    matrix = np.repeat((row.matrix * scale).astype(np.float32), layout.box_columns // BOX_COORDINATES, axis=1)
    chosen = branch.Gather(matrix, corner, axis=0)
    return chosen if row.slope is None else branch.Mul(chosen, row.slope(branch, boxes))
