"""Convolutions and their transposes."""

from __future__ import annotations

from typing import Any

from tests.exporters.cases.values import ints
from tests.exporters.graphs import OperatorCase


def _conv(
    x: tuple[int, ...], w: tuple[int, ...], note: str = "", bias: bool = False, **attributes: Any
) -> OperatorCase:
    inputs = (ints(*x), ints(*w), ints(w[0])) if bias else (ints(*x), ints(*w))
    return OperatorCase("Conv", inputs, attributes, note=note, step=1.0)


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


def _transposed(
    x: tuple[int, ...], w: tuple[int, ...], note: str = "", bias: bool = False, **attributes: Any
) -> OperatorCase:
    maps = w[1] * attributes.get("group", 1)
    inputs = (ints(*x), ints(*w), ints(maps)) if bias else (ints(*x), ints(*w))
    return OperatorCase("ConvTranspose", inputs, attributes, note=note, step=1.0)


CONV_TRANSPOSE_CASES = (
    _transposed((2, 4, 3, 4), (4, 3, 3, 2)),
    _transposed((2, 2, 3, 3), (2, 3, 2, 2), bias=True, strides=[2, 2]),
    _transposed((2, 2, 4, 3), (2, 3, 3, 3), strides=[2, 2], pads=[1, 1, 1, 1], output_padding=[1, 1]),
    _transposed((2, 2, 4, 3), (2, 3, 3, 3), "asymmetric", strides=[2, 2], pads=[1, 0, 0, 2]),
    _transposed((1, 2, 3, 3), (2, 3, 3, 2), strides=[2, 3], output_padding=[1, 2]),
    _transposed((1, 4, 3, 3), (4, 2, 3, 2), group=2),
    _transposed((1, 4, 3, 3), (4, 2, 3, 2), group=2, strides=[2, 2], pads=[1, 0, 1, 1], bias=True),
    _transposed((1, 3, 3, 3), (3, 1, 2, 2), "depthwise", group=3, strides=[2, 2]),
    _transposed((1, 2, 3, 4), (2, 3, 3, 2), dilations=[2, 1]),
    _transposed((1, 2, 3, 3), (2, 3, 2, 2), dilations=[2, 3], strides=[2, 1], pads=[1, 1, 0, 1]),
    _transposed((1, 2, 3, 4), (2, 3, 3, 2), auto_pad="SAME_UPPER", strides=[2, 2]),
    _transposed((1, 2, 3, 4), (2, 3, 3, 2), auto_pad="SAME_LOWER", strides=[2, 2]),
    _transposed((1, 2, 3, 4), (2, 3, 4, 4), auto_pad="SAME_UPPER", strides=[2, 2]),
    _transposed((1, 2, 3, 4), (2, 3, 3, 4), auto_pad="SAME_LOWER"),
    _transposed((1, 2, 3, 4), (2, 3, 3, 2), auto_pad="VALID", strides=[2, 2]),
    _transposed((1, 2, 3, 3), (2, 3, 2, 2), "wide-strides", auto_pad="SAME_UPPER", strides=[3, 3]),
    _transposed((1, 2, 4, 4), (2, 3, 3, 3), output_shape=[8, 7], strides=[2, 2]),
    _transposed((1, 2, 4, 4), (2, 3, 3, 3), output_shape=[6, 9], strides=[2, 2]),
    _transposed((1, 2, 4, 4), (2, 3, 3, 3), output_shape=[8, 7], strides=[2, 2], auto_pad="SAME_UPPER"),
    _transposed((2, 2, 4), (2, 3, 3), "1-D", strides=[2], pads=[1, 0], output_padding=[1]),
    _transposed((1, 2, 2, 3, 2), (2, 2, 2, 2, 2), "3-D", strides=[2, 1, 2]),
)
