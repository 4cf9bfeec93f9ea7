"""Pools."""

from __future__ import annotations

from typing import Any

from tests.exporters.cases.values import distinct, ints, real
from tests.exporters.graphs import OperatorCase


def _average(x: tuple[int, ...], note: str = "", opset: int = 18, **attributes: Any) -> OperatorCase:
    return OperatorCase("AveragePool", (ints(*x),), attributes, note=note, step=1.0, opset=opset)


def _maximum(x: tuple[int, ...], note: str = "", **attributes: Any) -> OperatorCase:
    return OperatorCase("MaxPool", (distinct(*x),), attributes, note=note, step=0.25)


AVERAGE_POOL_CASES = (
    _average((2, 2, 4, 6), kernel_shape=[2, 2], strides=[2, 2]),
    _average((2, 2, 5, 6), kernel_shape=[3, 2]),
    _average((2, 2, 5, 6), "unread-rows", kernel_shape=[2, 2], strides=[3, 4]),
    *(
        _average((2, 2, 6, 5), kernel_shape=[3, 3], count_include_pad=include, **attributes)
        for include in (0, 1)
        for attributes in (
            {"pads": [1, 1, 1, 1]},
            {"pads": [1, 1, 1, 1], "strides": [2, 2]},
            {"pads": [0, 1, 2, 0], "strides": [1, 2]},
            {"strides": [2, 2], "ceil_mode": 1},
            {"strides": [2, 2], "pads": [1, 1, 1, 1], "ceil_mode": 1},
            {"strides": [3, 3], "pads": [0, 1, 1, 0], "ceil_mode": 1},
            {"auto_pad": "SAME_UPPER", "strides": [2, 2]},
            {"auto_pad": "SAME_LOWER"},
        )
    ),
    *(
        _average((1, 2, 4, 4), "window-in-the-pads", kernel_shape=[1, 1], strides=[2, 2], ceil_mode=1),
        _average(
            (1, 2, 4, 4),
            "last-window-starts-in-pads",
            kernel_shape=[2, 2],
            strides=[3, 3],
            pads=[0, 0, 1, 1],
            ceil_mode=1,
        ),
        _average(
            (1, 2, 5, 5),
            "last-window-starts-in-pads",
            kernel_shape=[3, 3],
            strides=[3, 3],
            pads=[1, 1, 1, 1],
            ceil_mode=1,
        ),
    ),
    _average((2, 2, 5, 6), kernel_shape=[3, 3], auto_pad="VALID", strides=[2, 2]),
    _average((2, 3, 4, 5), "full-map", kernel_shape=[4, 5]),
    _average((2, 3, 4, 5), "full-map", kernel_shape=[4, 5], strides=[4, 5]),
    _average((2, 2, 3, 3), "over-the-map", kernel_shape=[4, 4], pads=[0, 0, 1, 1]),
    _average((2, 2, 3, 3), "over-the-map", kernel_shape=[5, 5], pads=[1, 1, 1, 1], count_include_pad=1),
    _average((1, 2, 7, 6), kernel_shape=[2, 3], dilations=[2, 2], opset=19),
    _average((1, 2, 7, 6), kernel_shape=[2, 2], dilations=[3, 2], strides=[2, 2], pads=[1, 0, 1, 1], opset=19),
    _average((2, 2, 7), "1-D", kernel_shape=[3], strides=[2], pads=[1, 0]),
    _average((1, 2, 3, 4, 3), "3-D", kernel_shape=[2, 2, 2], strides=[1, 2, 1], pads=[0, 0, 1, 0, 1, 0]),
)

MAX_POOL_CASES = (
    _maximum((2, 2, 4, 6), kernel_shape=[2, 2], strides=[2, 2]),
    _maximum((2, 2, 5, 6), "overlapping", kernel_shape=[3, 3], strides=[2, 2]),
    _maximum((2, 2, 5, 6), "overlapping", kernel_shape=[3, 3], strides=[1, 1], pads=[1, 1, 1, 1]),
    _maximum((2, 2, 6, 7), "overlapping", kernel_shape=[3, 2], strides=[2, 1], pads=[0, 1, 2, 0]),
    _maximum((2, 2, 7, 6), kernel_shape=[2, 2], dilations=[2, 3]),
    _maximum((2, 2, 7, 6), kernel_shape=[2, 2], dilations=[2, 2], strides=[2, 2], pads=[1, 1, 0, 1]),
    _maximum((2, 2, 6, 5), kernel_shape=[3, 3], strides=[2, 2], ceil_mode=1),
    _maximum((2, 2, 6, 7), kernel_shape=[2, 2], strides=[3, 3], ceil_mode=1),
    _maximum((2, 2, 6, 5), kernel_shape=[3, 3], strides=[2, 2], ceil_mode=1, pads=[1, 1, 1, 1]),
    _maximum((2, 2, 5, 6), kernel_shape=[3, 3], strides=[2, 2], auto_pad="SAME_UPPER"),
    _maximum((2, 2, 5, 6), kernel_shape=[2, 2], auto_pad="SAME_LOWER"),
    _maximum((2, 2, 5, 6), kernel_shape=[2, 2], auto_pad="VALID", strides=[2, 2]),
    _maximum((2, 2, 4, 5), "column-major", kernel_shape=[2, 2], storage_order=1),
    _maximum((2, 2, 4, 5), "full-map", kernel_shape=[4, 5]),
    _maximum((2, 2, 7), "1-D", kernel_shape=[3], strides=[2], pads=[1, 0]),
    _maximum((1, 2, 3, 4, 3), "3-D", kernel_shape=[2, 2, 2], strides=[1, 2, 1]),
    OperatorCase(
        "MaxPool",
        (distinct(2, 2, 4, 4),),
        {"kernel_shape": [2, 2], "strides": [2, 2]},
        note="with-indices",
        step=0.25,
        outputs=("y", "indices"),
    ),
)


def _lp(x: tuple[int, ...], note: str = "", **attributes: Any) -> OperatorCase:
    return OperatorCase("LpPool", (real(*x),), attributes, note=note)


LP_POOL_CASES = (
    *(_lp((2, 2, 5, 6), kernel_shape=[3, 2], strides=[2, 2], p=p) for p in (1, 2, 3)),
    _lp((2, 2, 5, 6), kernel_shape=[3, 3], strides=[2, 2], pads=[1, 1, 1, 1]),
    _lp((2, 2, 5, 6), "asymmetric", kernel_shape=[3, 2], pads=[0, 1, 2, 0], p=3),
    _lp((2, 2, 6, 5), kernel_shape=[2, 2], dilations=[2, 3]),
    _lp((2, 2, 5, 6), kernel_shape=[3, 3], strides=[2, 2], auto_pad="SAME_UPPER"),
    _lp((2, 2, 5, 6), kernel_shape=[2, 2], auto_pad="SAME_LOWER"),
    _lp((2, 2, 5, 6), kernel_shape=[2, 2], auto_pad="VALID", strides=[2, 2]),
    _lp((2, 2, 3, 4), "full-map", kernel_shape=[3, 4]),
    _lp((2, 2, 7), "1-D", kernel_shape=[3], strides=[2], pads=[1, 0]),
    _lp((1, 2, 3, 3, 3), "3-D", kernel_shape=[2, 2, 2], strides=[1, 2, 1]),
)
