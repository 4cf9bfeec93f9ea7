"""Rules at any geometry: sizes, windows, bounds and broadcasts that hypothesis chooses."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, mutually_broadcastable_shapes

from tests.exporters.cases.resampling import COORDINATES, MODES, NEAREST
from tests.exporters.graphs import OperatorCase, integers, relative_error

# The references are float32 differences too.
TOLERANCE = 2e-5
any_case = settings(max_examples=25, deadline=None, derandomize=True, database=None)


@any_case
@given(data=st.data())
def test_any_convolution(data: st.DataObject) -> None:
    rank = data.draw(st.integers(1, 2))
    draw = geometry(data, rank)
    group = data.draw(st.integers(1, 2))
    maps, channels = group * data.draw(st.integers(1, 2)), data.draw(st.integers(1, 2))
    attributes = {key: list(draw[key]) for key in ("strides", "dilations", "pads")}
    extent = [(k - 1) * d + 1 for k, d in zip(draw["kernel"], draw["dilations"], strict=True)]
    begin, end = draw["pads"][:rank], draw["pads"][rank:]
    room = [s + b + e for s, b, e in zip(draw["size"], begin, end, strict=True)]
    assume(all(r >= e for r, e in zip(room, extent, strict=True)))
    rng = np.random.default_rng(5)
    x = integers(rng, (2, group * channels, *draw["size"]), low=1)
    w = integers(rng, (maps, channels, *draw["kernel"]), low=1)
    case = OperatorCase("Conv", (x, w), {**attributes, "group": group}, step=1.0)
    agrees(case)


@any_case
@given(data=st.data())
@pytest.mark.parametrize("operator", ["AveragePool", "MaxPool"])
def test_any_pool(operator: str, data: st.DataObject) -> None:
    rank = data.draw(st.integers(1, 2))
    draw = geometry(data, rank)
    # ONNX Runtime wants pads smaller than the kernel; a dilated window that sees pads only has no mean or maximum.
    pads = [min(pad, kernel - 1) for pad, kernel in zip(draw["pads"], draw["kernel"] * 2, strict=True)]
    for axis in range(rank):
        size, kernel, stride, dilation = (draw[key][axis] for key in ("size", "kernel", "strides", "dilations"))
        last = size + pads[axis] + pads[rank + axis] - (kernel - 1) * dilation - 1
        assume(last >= 0)
        starts = range(0, last + stride, stride)
        assume(all(any(0 <= s + k * dilation - pads[axis] < size for k in range(kernel)) for s in starts))
    attributes = {"kernel_shape": list(draw["kernel"]), "strides": list(draw["strides"]), "pads": pads}
    attributes |= {"dilations": list(draw["dilations"]), "ceil_mode": data.draw(st.integers(0, 1))}
    x = np.random.default_rng(6).permutation(4 * int(np.prod(draw["size"])))
    shaped = x.reshape(2, 2, *draw["size"]).astype(np.float32)
    if operator == "AveragePool":
        attributes["count_include_pad"] = data.draw(st.integers(0, 1))
        agrees(OperatorCase("AveragePool", (shaped,), attributes, step=1.0, opset=19))
    else:
        agrees(OperatorCase("MaxPool", (shaped,), attributes, step=0.25))


@any_case
@given(
    shapes=mutually_broadcastable_shapes(num_shapes=2, max_dims=4, max_side=3),
    operator=st.sampled_from(["Add", "Sub", "Mul", "Div", "Max", "Min", "Pow", "Sum"]),
)
def test_any_broadcast(shapes: Any, operator: str) -> None:
    rng = np.random.default_rng(7)
    left, right = (rng.uniform(0.5, 2.0, shape) for shape in shapes.input_shapes)
    agrees(OperatorCase(operator, (np.asarray(left), np.asarray(right)), wrt=(0, 1)))


@any_case
@given(
    batches=mutually_broadcastable_shapes(num_shapes=2, max_dims=2, max_side=3),
    sizes=st.tuples(*[st.integers(1, 3)] * 3),
)
def test_any_matrix_product(batches: Any, sizes: tuple[int, int, int]) -> None:
    rng = np.random.default_rng(8)
    rows, inner, columns = sizes
    left = rng.uniform(0.5, 2.0, (*batches.input_shapes[0], rows, inner))
    right = rng.uniform(0.5, 2.0, (*batches.input_shapes[1], inner, columns))
    agrees(OperatorCase("MatMul", (left, right), wrt=(0, 1)))


@any_case
@given(data=st.data())
def test_any_transposed_convolution(data: st.DataObject) -> None:
    rank = data.draw(st.integers(1, 2))
    draw = geometry(data, rank)
    group = data.draw(st.integers(1, 2))
    maps, channels = data.draw(st.integers(1, 2)), group * data.draw(st.integers(1, 2))
    size, strides = [min(s, 4) for s in draw["size"]], list(draw["strides"])
    more = [data.draw(st.integers(0, stride - 1)) for stride in strides]
    full = [
        stride * (s - 1) + output_padding + (k - 1) * d + 1
        for stride, s, output_padding, k, d in zip(strides, size, more, draw["kernel"], draw["dilations"], strict=True)
    ]
    assume(all(f > b + e for f, b, e in zip(full, draw["pads"][:rank], draw["pads"][rank:], strict=True)))
    attributes = {"strides": strides, "dilations": list(draw["dilations"]), "pads": list(draw["pads"])}
    rng = np.random.default_rng(9)
    x = integers(rng, (2, channels, *size), low=1)
    w = integers(rng, (channels, maps, *draw["kernel"]), low=1)
    agrees(OperatorCase("ConvTranspose", (x, w), {**attributes, "group": group, "output_padding": more}, step=1.0))


@any_case
@given(shape=array_shapes(min_dims=1, max_dims=5, max_side=4), data=st.data())
def test_any_reshape(shape: tuple[int, ...], data: st.DataObject) -> None:
    # Neighbours are merged, ones are put in, and one size may be left to be inferred.
    merged = [1]
    for size in shape:
        if data.draw(st.booleans()):
            merged[-1] *= size
        else:
            merged.append(size)
    if data.draw(st.booleans()):
        merged[data.draw(st.integers(0, len(merged) - 1))] = -1
    agrees(OperatorCase("Reshape", (_counted(shape), np.array(merged, np.int64)), step=1.0))


@any_case
@given(shape=array_shapes(min_dims=1, max_dims=3, max_side=6), data=st.data())
def test_any_slice(shape: tuple[int, ...], data: st.DataObject) -> None:
    axes = data.draw(st.lists(st.integers(0, len(shape) - 1), min_size=1, unique=True))
    rows = []
    for axis in axes:
        size, step = shape[axis], data.draw(st.sampled_from([-3, -2, -1, 1, 2, 3]))
        first = data.draw(st.integers(0, size - 1))
        # Each bound counted from the front or from the end, or out of range where that means the same.
        starts = [first, first - size, *([-size - 3] if first == 0 else []), *([size + 3] if first == size - 1 else [])]
        if step > 0:
            starts = [start for start in starts if start < size]
            ends = [*range(first + 1, size + 3), *range(first + 1 - size, 0)]
        else:
            ends = [*range(first), *range(-size - 3, first - size)]
        rows.append((data.draw(st.sampled_from(starts)), data.draw(st.sampled_from(ends)), step))
    starts, ends, steps = np.array(rows, np.int64).T
    agrees(OperatorCase("Slice", (_counted(shape), starts, ends, np.array(axes, np.int64), steps), step=1.0))


@any_case
@given(shape=array_shapes(min_dims=1, max_dims=3, min_side=2, max_side=5), data=st.data())
@pytest.mark.parametrize("mode", ["constant", "reflect", "edge", "wrap"])
def test_any_pad(mode: str, shape: tuple[int, ...], data: st.DataObject) -> None:
    begin, end = [], []
    for size in shape:
        cut = data.draw(st.integers(0, size - 2))
        room = size - cut if mode == "wrap" else size - cut - 1 if mode == "reflect" else 3
        sides = [data.draw(st.sampled_from([-cut, data.draw(st.integers(0, room))])), data.draw(st.integers(0, room))]
        if data.draw(st.booleans()):
            sides.reverse()
        begin.append(sides[0])
        end.append(sides[1])
    agrees(OperatorCase("Pad", (_counted(shape), np.array(begin + end, np.int64)), {"mode": mode}, step=1.0, opset=19))


@any_case
@given(data=st.data())
@pytest.mark.parametrize("mode", MODES)
def test_any_resize(mode: str, data: st.DataObject) -> None:
    sizes = st.integers(1, 5)
    shape = (1, 2, data.draw(sizes), data.draw(sizes))
    attributes = {
        "mode": mode,
        "coordinate_transformation_mode": data.draw(st.sampled_from(COORDINATES)),
        "nearest_mode": data.draw(st.sampled_from(NEAREST)),
    }
    if data.draw(st.booleans()):
        target = np.array([1, 2, data.draw(st.integers(1, 7)), data.draw(st.integers(1, 7))], np.int64)
        inputs: tuple[np.ndarray | None, ...] = (_counted(shape), None, None, target)
    else:
        factors = st.sampled_from([0.5, 0.7, 1.0, 1.3, 1.5, 2.0, 2.6])
        scales = np.array([1, 1, data.draw(factors), data.draw(factors)], np.float32)
        assume(all(int(size * scale) >= 1 for size, scale in zip(shape, scales, strict=True)))
        inputs = (_counted(shape), None, scales)
    agrees(OperatorCase("Resize", inputs, attributes, step=1.0, opset=19))


def _counted(shape: tuple[int, ...]) -> np.ndarray:
    return np.arange(np.prod(shape, dtype=int)).reshape(shape).astype(np.float32)


def geometry(data: st.DataObject, rank: int) -> dict[str, tuple[int, ...]]:
    """Sizes, kernel, strides, dilations and pads of a sliding window over `rank` axes."""

    def per_axis(low: int, high: int, count: int = rank) -> tuple[int, ...]:
        return data.draw(st.tuples(*[st.integers(low, high)] * count))

    return {
        "size": per_axis(1, 6),
        "kernel": per_axis(1, 4),
        "strides": per_axis(1, 3),
        "dilations": per_axis(1, 3),
        "pads": per_axis(0, 3, 2 * rank),
    }


def agrees(case: OperatorCase) -> None:
    """Every differentiated input, for a cotangent of ones and twos: it cannot make the reference zero."""
    cotangent = 1.0 + (np.arange(case.forward({}).size) % 2).reshape(case.forward({}).shape)
    for wrt in case.wrt:
        reference = case.numerical_gradient(wrt, cotangent)
        assert relative_error(case.emitted_gradient(wrt, cotangent, open_batch=False), reference) < TOLERANCE
