"""Operators that read maps at coordinates, sort, select, turn round and fold back."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np

from tests.exporters.cases.values import axes, distinct, ints, real
from tests.exporters.graphs import OperatorCase

PADDINGS = ("zeros", "border", "reflection")


def _grid_samples() -> Iterable[OperatorCase]:
    for padding in PADDINGS:
        for aligned in (0, 1):
            attributes: dict[str, Any] = {"padding_mode": padding, "align_corners": aligned}
            for mode in ("linear", "cubic"):
                inputs = (real(2, 2, 4, 5), real(2, 3, 4, 2))
                yield OperatorCase("GridSample", inputs, {"mode": mode, **attributes}, wrt=(0, 1), opset=20)
            inputs = (real(2, 2, 4, 5), real(2, 3, 4, 2))
            yield OperatorCase("GridSample", inputs, {"mode": "nearest", **attributes}, opset=20)
            yield OperatorCase("GridSample", inputs, {"mode": "bilinear", **attributes}, wrt=(0, 1), opset=16)
            volume = (real(1, 2, 3, 4, 2), real(1, 2, 2, 3, 3))
            yield OperatorCase("GridSample", volume, {"mode": "linear", **attributes}, wrt=(0, 1), opset=20)
    yield OperatorCase("GridSample", (real(2, 2, 4, 5), real(2, 3, 4, 2)), {"mode": "bicubic"}, wrt=(0, 1), opset=16)
    yield OperatorCase("GridSample", (real(2, 2, 4, 5), real(2, 3, 4, 2)), wrt=(0, 1), note="default", opset=16)
    one = {"mode": "linear", "padding_mode": "reflection", "align_corners": 1}
    yield OperatorCase("GridSample", (real(1, 2, 1, 3), real(1, 2, 2, 2)), one, note="one-row", opset=20)


def _affine_grids() -> Iterable[OperatorCase]:
    for aligned in (0, 1):
        attributes = {"align_corners": aligned}
        flat, volume = (real(2, 2, 3), axes(2, 3, 4, 5)), (real(2, 3, 4), axes(2, 1, 2, 3, 4))
        yield OperatorCase("AffineGrid", flat, attributes, note="2-D", opset=20, step=1.0)
        yield OperatorCase("AffineGrid", volume, attributes, note="3-D", opset=20, step=1.0)


ROIS = np.array([[0.3, 0.4, 5.2, 4.9], [1.2, 2.1, 9.3, 7.7], [-3.1, -2.3, 3.4, 2.2], [2.4, 2.3, 2.9, 2.6]])
IMAGES = np.array([1, 0, 1, 1])


def _roi_aligns() -> Iterable[OperatorCase]:
    for ratio in (0, 1, 2):
        for half in ("half_pixel", "output_half_pixel"):
            attributes = {"output_height": 2, "output_width": 3, "sampling_ratio": ratio}
            attributes |= {"coordinate_transformation_mode": half, "spatial_scale": 0.75}
            yield OperatorCase("RoiAlign", (real(2, 2, 6, 7), ROIS, IMAGES), attributes, opset=16)
    for ratio in (0, 2):
        attributes = {"output_height": 2, "output_width": 2, "sampling_ratio": ratio, "mode": "max"}
        yield OperatorCase("RoiAlign", (distinct(2, 2, 6, 7), ROIS, IMAGES), attributes, opset=16)
    yield OperatorCase("RoiAlign", (real(2, 2, 6, 7), ROIS, IMAGES), note="default", opset=16)


def _top_ks() -> Iterable[OperatorCase]:
    for axis in (1, -1):
        for largest in (0, 1):
            attributes = {"axis": axis, "largest": largest}
            yield OperatorCase("TopK", (distinct(2, 5, 4), axes(3)), attributes, outputs=("y", "i"))
    yield OperatorCase("TopK", (distinct(2, 5), axes(5)), note="all", outputs=("y", "i"))
    yield OperatorCase("TopK", (distinct(5, 2), axes(2)), {"axis": 0}, outputs=("y", "i"), open_batch=False)


def _compresses() -> Iterable[OperatorCase]:
    chosen = np.array([False, True, True, False, True])
    yield OperatorCase("Compress", (real(2, 5, 3), chosen), {"axis": 1})
    yield OperatorCase("Compress", (real(2, 3, 5), chosen[:3]), {"axis": -1}, note="short")
    yield OperatorCase("Compress", (real(5, 3), chosen), {"axis": 0}, open_batch=False)
    yield OperatorCase("Compress", (real(2, 3), np.array([True, False, False, True, True])), note="flat")


def _reversed_sequences() -> Iterable[OperatorCase]:
    yield OperatorCase("ReverseSequence", (real(4, 3, 2), axes(4, 2, 1)), note="default", open_batch=False)
    by_row = {"batch_axis": 0, "time_axis": 1}
    yield OperatorCase("ReverseSequence", (real(3, 4, 2), axes(1, 3, 4)), by_row, open_batch=False)


def _unpools() -> Iterable[OperatorCase]:
    indices = np.array([[[[0, 3], [8, 15]]], [[[16 + 5, 16 + 2], [16 + 12, 16 + 10]]]])
    attributes = {"kernel_shape": [2, 2], "strides": [2, 2]}
    yield OperatorCase("MaxUnpool", (ints(2, 1, 2, 2), indices), attributes, step=1.0, open_batch=False)
    wide = np.array([[[[0, 3], [12, 18]]]])
    yield OperatorCase("MaxUnpool", (ints(1, 1, 2, 2), wide, axes(1, 1, 5, 5)), attributes, note="wider", step=1.0)


def _folds() -> Iterable[OperatorCase]:
    rows: tuple[tuple[tuple[int, ...], tuple[int, ...], int, dict[str, list[int]]], ...] = (
        ((4, 5), (2, 3), 9, {}),
        ((5, 5), (2, 2), 9, {"strides": [2, 2], "pads": [1, 1, 0, 0]}),
        ((6, 5), (2, 2), 16, {"dilations": [2, 2], "pads": [0, 0, 0, 1]}),
        ((7,), (3,), 5, {}),
    )
    for size, block, count, attributes in rows:
        columns = ints(2, 2 * int(np.prod(block)), count)
        yield OperatorCase("Col2Im", (columns, axes(*size), axes(*block)), attributes)


def _crops() -> Iterable[OperatorCase]:
    for height, width in ((3, 4), (8, 9), (4, 9), (5, 5)):
        yield OperatorCase("CenterCropPad", (ints(2, 2, 5, 6), axes(height, width)), {"axes": [2, 3]})
    yield OperatorCase("CenterCropPad", (ints(2, 3, 5), axes(2, 2, 8)), open_batch=False)


# Written out in other operators.
SAMPLED_CASES = (*_grid_samples(), *_affine_grids())

SAMPLING_CASES = (
    *_roi_aligns(),
    *_top_ks(),
    *_compresses(),
    *_reversed_sequences(),
    *_unpools(),
    *_folds(),
    *_crops(),
)
