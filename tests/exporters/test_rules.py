"""Every rule against central differences of the operator itself."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx_ir as ir
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import mutually_broadcastable_shapes

from onnxplain.exporters import differentiate
from onnxplain.exporters.rules import RULES, Gradients, Site
from tests.exporters.graphs import OperatorCase, integers, relative_error
from tests.exporters.operator_cases import OPERATOR_CASES

TOLERANCE = 5e-6


def gradient_error(case: OperatorCase, wrt: int, *, open_batch: bool) -> float:
    """Error of the emitted gradient for a random cotangent."""
    rng = np.random.default_rng(11)
    cotangent = rng.integers(-4, 5, case.forward({}).shape).astype(np.float64)
    reference = case.numerical_gradient(wrt, cotangent)
    assert np.any(reference), "the reference gradient is zero: the case proves nothing"
    return relative_error(case.emitted_gradient(wrt, cotangent, open_batch=open_batch), reference)


@pytest.mark.parametrize(
    ("case", "open_batch"),
    [
        pytest.param(case, open_batch, id=f"{case.id}-{'open' if open_batch else 'fixed'}")
        for case in OPERATOR_CASES
        for open_batch in (False, True)
        if case.open_batch or not open_batch
    ],
)
def test_rule_agrees_with_central_differences(case: OperatorCase, open_batch: bool) -> None:
    for wrt in case.wrt:
        assert gradient_error(case, wrt, open_batch=open_batch) < TOLERANCE, f"input {wrt}"


def test_the_tables_cover_every_rule() -> None:
    covered = {case.operator for case in OPERATOR_CASES} | {"QuantizeLinear", "DequantizeLinear"}
    assert covered == set(RULES)


@pytest.mark.parametrize("operator", sorted({case.operator for case in OPERATOR_CASES}))
def test_a_wrong_rule_is_caught(operator: str, monkeypatch: pytest.MonkeyPatch) -> None:
    case = next(case for case in OPERATOR_CASES if case.operator == operator)

    def slightly_wrong(at: Site, g: ir.Value) -> Gradients:
        scaled = at.branch.Mul(g, 1.001)
        return RULES[operator](at, scaled)

    monkeypatch.setattr(differentiate, "RULES", {**RULES, operator: slightly_wrong})
    assert gradient_error(case, case.wrt[0], open_batch=False) > TOLERANCE


@settings(max_examples=40, deadline=None, derandomize=True, database=None)
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


@settings(max_examples=60, deadline=None, derandomize=True, database=None)
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


@settings(max_examples=30, deadline=None, derandomize=True, database=None)
@given(
    shapes=mutually_broadcastable_shapes(num_shapes=2, max_dims=4, max_side=3),
    operator=st.sampled_from(["Add", "Sub", "Mul", "Div"]),
)
def test_any_broadcast(shapes: Any, operator: str) -> None:
    rng = np.random.default_rng(7)
    left, right = (rng.uniform(0.5, 2.0, shape) for shape in shapes.input_shapes)
    agrees(OperatorCase(operator, (np.asarray(left), np.asarray(right)), wrt=(0, 1)))


@settings(max_examples=30, deadline=None, derandomize=True, database=None)
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
