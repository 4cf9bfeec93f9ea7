"""The operators that have a rule: several forms of each, one row per form."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np
import onnx

from tests.exporters.graphs import OperatorCase, integers

RNG = np.random.default_rng(3)


def _real(*shape: int, low: float = -2.0, high: float = 2.0) -> np.ndarray:
    """Values on a coarse grid off the kinks at 0 and ±1, so that no step crosses one."""
    return np.asarray(np.round(RNG.uniform(low, high, shape) * 8) / 8 + 1 / 16)


def _ints(*shape: int) -> np.ndarray:
    return integers(RNG, shape)


def _distinct(*shape: int) -> np.ndarray:
    """Whole numbers in random order, none twice: every window has one maximum, also after a step of 1/4."""
    return RNG.permutation(int(np.prod(shape))).reshape(shape).astype(np.float32)


def _axes(*values: int) -> np.ndarray:
    return np.array(values, np.int64)


def _conv(
    x: tuple[int, ...], w: tuple[int, ...], note: str = "", bias: bool = False, **attributes: Any
) -> OperatorCase:
    inputs = (_ints(*x), _ints(*w), _ints(w[0])) if bias else (_ints(*x), _ints(*w))
    return OperatorCase("Conv", inputs, attributes, note=note, step=1.0)


def _average(x: tuple[int, ...], note: str = "", opset: int = 18, **attributes: Any) -> OperatorCase:
    return OperatorCase("AveragePool", (_ints(*x),), attributes, note=note, step=1.0, opset=opset)


def _maximum(x: tuple[int, ...], note: str = "", **attributes: Any) -> OperatorCase:
    return OperatorCase("MaxPool", (_distinct(*x),), attributes, note=note, step=0.25)


def _broadcasts(operator: str) -> Iterable[OperatorCase]:
    shapes = {
        "same": ((2, 3, 4), (2, 3, 4)),
        "channel": ((2, 3, 2, 2), (3, 1, 1)),
        "scalar": ((2, 3), ()),
        "left-grows": ((3, 1), (2, 3, 4)),
        "both-grow": ((2, 1, 3), (4, 1)),
    }
    for note, (left, right) in shapes.items():
        inputs = (_real(*left), _real(*right, low=0.5, high=2.0))
        # An open batch must be the same symbol on both sides: only where the first axes are the same axis.
        yield OperatorCase(operator, inputs, wrt=(0, 1), note=note, open_batch=note == "same")


def _gemms() -> Iterable[OperatorCase]:
    for trans_a in (0, 1):
        for trans_b in (0, 1):
            a = _real(*((3, 2) if trans_a else (2, 3)))
            b = _real(*((4, 3) if trans_b else (3, 4)))
            attributes = {"transA": trans_a, "transB": trans_b}
            # Only one of the two may have an open first axis: the other's is inner or the classes.
            yield OperatorCase("Gemm", (a, b), attributes, wrt=(0, 1), open_batch=False)
            yield OperatorCase(
                "Gemm", (a, b, _real(4)), {**attributes, "alpha": 0.5, "beta": -2.0}, wrt=(0, 1, 2), open_batch=False
            )
    yield OperatorCase("Gemm", (_real(2, 3), _real(4, 3), _real(4)), {"transB": 1}, note="classifier")
    yield OperatorCase("Gemm", (_real(2, 3), _real(3, 4), _real(2, 1)), {}, (2,), "column-bias", open_batch=False)
    yield OperatorCase("Gemm", (_real(2, 3), _real(3, 4), _real(1, 1)), {}, (2,), "single-bias", open_batch=False)
    yield OperatorCase("Gemm", (_real(2, 3), _real(3, 4), _real()), {"beta": 3.0}, (2,), "scalar-bias")


def _matmuls() -> Iterable[OperatorCase]:
    shapes = {
        "matrices": ((2, 3), (3, 4)),
        "batched": ((2, 3, 4), (2, 4, 2)),
        "right-shared": ((2, 3, 4), (4, 2)),
        "left-shared": ((3, 4), (2, 4, 2)),
        "both-broadcast": ((2, 1, 2, 3), (3, 3, 2)),
        "stretched-batch": ((1, 2, 3), (3, 3, 2)),
    }
    for note, (left, right) in shapes.items():
        yield OperatorCase("MatMul", (_real(*left), _real(*right)), wrt=(0, 1), note=note, open_batch=False)
    yield OperatorCase("MatMul", (_real(2, 3), _real(3, 4)), note="classifier")
    yield OperatorCase("MatMul", (_real(2, 3, 4), _real(4, 2)), note="tokens")


CONV_CASES = (
    _conv((2, 3, 5, 6), (4, 3, 3, 3), "plain", pads=[1, 1, 1, 1]),
    _conv((2, 2, 5, 4), (3, 2, 3, 3), "no-pads", bias=True),
    _conv((2, 3, 4, 5), (4, 3, 1, 1), "pointwise"),
    _conv((2, 3, 5, 5), (4, 3, 1, 1), "pointwise", strides=[2, 2]),
    _conv((1, 2, 7, 6), (3, 2, 3, 3), strides=[2, 2], pads=[1, 1, 1, 1]),
    _conv((2, 2, 8, 7), (3, 2, 3, 3), strides=[3, 2], pads=[0, 1, 2, 0]),
    _conv((2, 2, 8, 8), (2, 2, 2, 2), "unread-rows", strides=[3, 3]),
    _conv((2, 2, 5, 6), (3, 2, 3, 2), "asymmetric", pads=[0, 1, 2, 0]),
    _conv((2, 2, 5, 6), (3, 2, 3, 3), auto_pad="SAME_UPPER"),
    _conv((2, 2, 5, 6), (3, 2, 2, 4), auto_pad="SAME_UPPER"),
    _conv((2, 2, 5, 6), (3, 2, 2, 4), auto_pad="SAME_LOWER"),
    _conv((2, 2, 6, 7), (3, 2, 3, 2), auto_pad="SAME_UPPER", strides=[2, 2]),
    _conv((2, 2, 6, 7), (3, 2, 3, 2), auto_pad="SAME_LOWER", strides=[2, 3]),
    _conv((2, 2, 6, 7), (3, 2, 1, 1), auto_pad="SAME_UPPER", strides=[3, 3]),
    _conv((2, 2, 5, 6), (3, 2, 3, 3), auto_pad="VALID"),
    _conv((2, 2, 6, 7), (3, 2, 3, 3), auto_pad="VALID", strides=[2, 2]),
    _conv((1, 2, 7, 8), (3, 2, 3, 3), dilations=[2, 2], pads=[2, 2, 2, 2]),
    _conv((1, 2, 9, 8), (3, 2, 3, 2), dilations=[2, 3], strides=[2, 1], pads=[1, 0, 0, 1]),
    _conv((2, 4, 4, 5), (6, 2, 3, 3), group=2, pads=[1, 1, 1, 1]),
    _conv((2, 4, 5, 5), (6, 2, 3, 3), group=2, pads=[1, 1, 1, 1], strides=[2, 2]),
    _conv((2, 3, 4, 5), (3, 1, 3, 3), "depthwise", group=3, pads=[1, 1, 1, 1]),
    _conv((2, 3, 5, 6), (3, 1, 3, 3), "depthwise", group=3, pads=[1, 1, 1, 1], strides=[2, 2]),
    _conv((2, 3, 4, 5), (6, 1, 3, 3), "depthwise-multiplier", group=3, pads=[1, 1, 1, 1]),
    _conv((2, 3, 5, 5), (6, 1, 3, 3), "depthwise-multiplier", group=3, strides=[2, 2]),
    _conv((2, 4, 4, 4), (6, 2, 1, 1), "grouped-pointwise", group=2),
    _conv((1, 2, 3, 3), (3, 2, 5, 5), "kernel-over-image", pads=[2, 2, 2, 2]),
    _conv((1, 2, 3, 3), (3, 2, 5, 5), "kernel-over-image", pads=[1, 1, 1, 1]),
    _conv((1, 2, 4, 4), (3, 2, 1, 1), "pads-over-kernel", pads=[1, 1, 1, 1]),
    _conv((1, 2, 4, 4), (3, 2, 2, 3), "pads-over-kernel", pads=[3, 4, 2, 0]),
    _conv((1, 2, 5, 4), (3, 2, 2, 3), "pads-over-kernel", pads=[3, 4, 2, 3], strides=[2, 3]),
    _conv((2, 2, 7), (3, 2, 3), "1-D", pads=[1, 0]),
    _conv((2, 2, 8), (3, 2, 3), "1-D", pads=[1, 1], strides=[2], dilations=[2]),
    _conv((1, 2, 3, 4, 3), (2, 2, 3, 2, 3), "3-D", pads=[1, 0, 1, 1, 1, 1]),
    _conv((1, 2, 4, 3, 4), (2, 2, 2, 2, 3), "3-D", strides=[2, 1, 2], pads=[0, 0, 1, 0, 1, 1]),
    _conv((1, 4, 3, 3, 3), (4, 2, 2, 2, 2), "3-D", group=2),
)

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
        (_distinct(2, 2, 4, 4),),
        {"kernel_shape": [2, 2], "strides": [2, 2]},
        note="with-indices",
        step=0.25,
        outputs=("y", "indices"),
    ),
)

ELEMENTWISE_CASES = (
    *(case for operator in ("Add", "Sub", "Mul", "Div") for case in _broadcasts(operator)),
    OperatorCase("Relu", (_real(2, 3, 4),)),
    OperatorCase("Sigmoid", (_real(2, 3, 4, low=-6, high=6),)),
    OperatorCase("Clip", (_real(2, 12), np.array(-1.0), np.array(1.0))),
    OperatorCase("Clip", (_real(2, 12), np.array(0.0), np.array(6.0)), note="relu6"),
    OperatorCase("Clip", (_real(2, 12), np.array(-0.5)), note="lower"),
    OperatorCase("Clip", (_real(2, 12), None, np.array(0.5)), note="upper"),
    OperatorCase("Clip", (_real(2, 12),), note="no-bounds"),
    OperatorCase(
        "Clip", (_real(2, 12), np.array(0.0), np.array(np.finfo(np.float32).max, np.float32)), note="highest-float"
    ),
    OperatorCase("Identity", (_real(2, 3),)),
    OperatorCase("Cast", (_real(2, 3),), {"to": onnx.TensorProto.DOUBLE}),
    OperatorCase("Dropout", (_real(2, 3),)),
    OperatorCase("Dropout", (_real(2, 3), np.array(0.5, np.float32), np.array(False)), outputs=("y", "mask")),
    *(OperatorCase("Softmax", (_real(2, 4, 3),), {"axis": axis}) for axis in (1, 2, -1, -2)),
    OperatorCase("Softmax", (_real(2, 5),), note="default-axis"),
    OperatorCase("Softmax", (_real(3, 2),), {"axis": 0}, open_batch=False),
)

SHAPING_CASES = (
    OperatorCase("Reshape", (_real(2, 6, 2), _axes(0, -1))),
    OperatorCase("Reshape", (_real(2, 6, 2), _axes(-1, 3, 4))),
    OperatorCase("Reshape", (_real(2, 6), _axes(4, 3)), open_batch=False),
    OperatorCase("Reshape", (_real(2, 3), _axes(0, 3, 1, 1))),
    OperatorCase("Flatten", (_real(2, 3, 4),)),
    *(OperatorCase("Flatten", (_real(2, 3, 4),), {"axis": axis}) for axis in (0, 2, -1, 3)),
    OperatorCase("Squeeze", (_real(2, 3, 1, 1), _axes(2, 3))),
    OperatorCase("Squeeze", (_real(2, 1, 3, 1), _axes(-3))),
    OperatorCase("Squeeze", (_real(2, 1, 3),), note="all", open_batch=False),
    OperatorCase("Unsqueeze", (_real(2, 3), _axes(2, 3))),
    OperatorCase("Unsqueeze", (_real(2, 3), _axes(-1, 0))),
    OperatorCase("Transpose", (_real(2, 3, 4),)),
    OperatorCase("Transpose", (_real(2, 3, 4),), {"perm": [0, 2, 1]}),
    OperatorCase("Transpose", (_real(2, 3, 2, 4),), {"perm": [0, 3, 1, 2]}),
    OperatorCase("Transpose", (_real(2, 3, 2, 4),), {"perm": [3, 0, 2, 1]}),
    OperatorCase("Concat", (_real(2, 3, 2), _real(2, 1, 2), _real(2, 2, 2)), {"axis": 1}, wrt=(0, 1, 2)),
    OperatorCase("Concat", (_real(2, 3, 2), _real(2, 3, 3)), {"axis": -1}, wrt=(0, 1)),
    OperatorCase("Concat", (_real(2, 3, 2), _real(2, 1, 2)), {"axis": -2}, wrt=(1,), open_batch=False),
    OperatorCase("Concat", (_real(2, 3), _real(1, 3)), {"axis": 0}, wrt=(0, 1), open_batch=False),
)

REDUCING_CASES = (
    OperatorCase("GlobalAveragePool", (_real(2, 3, 4, 5),)),
    OperatorCase("GlobalAveragePool", (_real(2, 3, 6),), note="1-D"),
    OperatorCase("GlobalAveragePool", (_real(2, 2, 2, 3, 2),), note="3-D"),
    *(
        OperatorCase("ReduceMean", (_real(2, 3, 2, 4), _axes(*axes)), {"keepdims": keep})
        for keep in (0, 1)
        for axes in ((2, 3), (-1, -2), (1,), (3, 1))
    ),
    OperatorCase("ReduceMean", (_real(2, 3, 2),), {"keepdims": 0}, note="all", open_batch=False),
    OperatorCase("ReduceMean", (_real(2, 3, 2), _axes(0, 2)), {"keepdims": 1}, open_batch=False),
    OperatorCase("ReduceMean", (_real(2, 3, 2), _axes()), {"noop_with_empty_axes": 1}, note="none"),
    OperatorCase("ReduceMean", (_real(2, 3, 2),), {"noop_with_empty_axes": 1}, note="none-given"),
)


def _normalization(*shape: int, **attributes: Any) -> OperatorCase:
    channels = shape[1]
    statistics = (_real(channels), _real(channels), _real(channels), _real(channels, low=0.1, high=2.0))
    return OperatorCase("BatchNormalization", (_real(*shape), *statistics), attributes)


NORMALIZATION_CASES = (
    _normalization(2, 3, 2, 4),
    _normalization(2, 3, 2, 4, epsilon=0.25),
    _normalization(3, 4),
    _normalization(2, 3, 5, momentum=0.5),
)

OPERATOR_CASES: tuple[OperatorCase, ...] = (
    *CONV_CASES,
    *AVERAGE_POOL_CASES,
    *MAX_POOL_CASES,
    *ELEMENTWISE_CASES,
    *_gemms(),
    *_matmuls(),
    *SHAPING_CASES,
    *REDUCING_CASES,
    *NORMALIZATION_CASES,
)
