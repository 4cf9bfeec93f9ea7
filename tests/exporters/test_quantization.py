"""Quantizing operators against the straight-through formula."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import onnx
import onnx.helper
import onnx.numpy_helper
import pytest
import torch

from onnxplain.exporters.file.model_file import prepare
from tests.exporters.graphs import relative_error, run_gradient
from tests.exporters.processors import LARGEST
from tests.exporters.straight_through import Quantized, gradient_of, integer_model

make = onnx.helper.make_node
info = onnx.helper.make_tensor_value_info
FLOAT = onnx.TensorProto.FLOAT


def _quantizing_graph(
    x: np.ndarray, scale: np.ndarray, zero: np.ndarray | None, axis: int | None, dequantized_scale: np.ndarray
) -> onnx.ModelProto:
    names = ["scale"] if zero is None else ["scale", "zero"]
    attributes = {} if axis is None else {"axis": axis}
    nodes = [
        onnx.helper.make_node("QuantizeLinear", ["x", *names], ["q"], **attributes),
        onnx.helper.make_node("DequantizeLinear", ["q", "other_scale", *names[1:]], ["y"], **attributes),
    ]
    constants = {"scale": scale, "other_scale": dequantized_scale} | ({} if zero is None else {"zero": zero})
    graph = onnx.helper.make_graph(
        nodes,
        "quantize",
        [onnx.helper.make_tensor_value_info("x", onnx.TensorProto.FLOAT, ["N", *x.shape[1:]])],
        [onnx.ValueInfoProto(name="y")],
        [onnx.numpy_helper.from_array(array, name) for name, array in constants.items()],
    )
    return onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 18)], ir_version=10)


def _straight_through(
    x: np.ndarray, scale: np.ndarray, zero: np.ndarray, factor: np.ndarray, cotangent: np.ndarray
) -> np.ndarray:
    """The definition: dq is passed where q is strictly inside its type's range."""
    info = np.iinfo(zero.dtype)
    q = np.round(x / scale) + zero.astype(np.float64)
    return np.where((q > info.min) & (q < info.max), cotangent * factor / scale, 0.0)


@pytest.mark.parametrize("dtype", [np.uint8, np.int8])
@pytest.mark.parametrize(("shape", "axis"), [((2, 3, 4, 5), None), ((2, 3, 4, 5), 1), ((2, 4, 5, 3), -1), ((2, 3), 1)])
@pytest.mark.parametrize("factor", [1.0, 2.5])
def test_quantization_is_clipped_straight_through(
    dtype: type[np.integer], shape: tuple[int, ...], axis: int | None, factor: float
) -> None:
    rng = np.random.default_rng(4)
    count = () if axis is None else (shape[axis],)
    scale = rng.uniform(0.02, 0.05, count).astype(np.float32)
    zero = rng.integers(np.iinfo(dtype).min + 60, np.iinfo(dtype).max - 60, count).astype(dtype)
    x = rng.normal(0, 4, shape).astype(np.float32)
    cotangent = rng.normal(size=shape)
    other_scale = (scale * np.float32(factor)).astype(np.float32)
    model = prepare(_quantizing_graph(x, scale, zero, axis, np.asarray(other_scale)))
    found = run_gradient(model, "x", {"y": cotangent}, {"x": x})

    broadcast = [1] * len(shape)
    if axis is not None:
        broadcast[axis] = -1
    along = scale.astype(np.float64).reshape(broadcast)
    reference = _straight_through(x, along, zero.reshape(broadcast), along * factor, cotangent)
    assert 0 < np.count_nonzero(reference) < reference.size
    assert relative_error(found, reference) < 1e-6


def test_quantization_without_zero_point_is_uint8() -> None:
    x = np.array([[-0.1, 0.0, 0.1, 12.7, 25.4, 25.5, 30.0]], np.float32)
    scale = np.array(0.1, np.float32)
    found = run_gradient(
        prepare(_quantizing_graph(x, scale, None, None, scale)), "x", {"y": np.ones(x.shape)}, {"x": x}
    )
    np.testing.assert_allclose(found, [[0, 0, 1, 1, 1, 0, 0]])


@pytest.mark.parametrize("axis", [None, 1])
def test_quantization_agrees_with_torch_fake_quantize(axis: int | None) -> None:
    # torch passes the gradient at the ends of the range too; no value of this grid quantizes to one of them.
    x = np.linspace(-6.4, 6.4, 60, dtype=np.float32).reshape(1, 3, 20)
    scale, zero = np.array([0.05, 0.04, 0.03], np.float32), np.array([0, 3, -5], np.int8)
    if axis is None:
        scale, zero = scale[0], zero[0]
    q = np.round(x / (scale if axis is None else scale[:, None])) + (zero if axis is None else zero[:, None])
    x = np.where((q == -128) | (q == 127), 0.0, x).astype(np.float32)
    image = torch.tensor(x, requires_grad=True)
    if axis is None:
        y = torch.fake_quantize_per_tensor_affine(image, float(scale), int(zero), -128, 127)
    else:
        points = torch.tensor(zero, dtype=torch.int32)
        y = torch.fake_quantize_per_channel_affine(image, torch.tensor(scale), points, axis, -128, 127)
    cotangent = np.random.default_rng(1).normal(size=x.shape)
    (reference,) = torch.autograd.grad(y, image, torch.tensor(cotangent, dtype=torch.float32))
    model = prepare(_quantizing_graph(x, np.asarray(scale), np.asarray(zero), axis, np.asarray(scale)))
    assert relative_error(run_gradient(model, "x", {"y": cotangent}, {"x": x}), reference.numpy()) < 1e-6


RNG = np.random.default_rng(6)
CONVOLUTIONS: Mapping[str, tuple[tuple[int, ...], dict[str, Any]]] = {
    "plain": ((4, 3, 3, 3), {"pads": [1, 1, 1, 1]}),
    "strided": ((4, 3, 3, 3), {"strides": [2, 2], "pads": [1, 1, 1, 1]}),
    "depthwise": ((3, 1, 3, 3), {"group": 3, "pads": [1, 1, 1, 1]}),
    "dilated": ((4, 3, 2, 2), {"dilations": [2, 2]}),
}


def _convolution(x: torch.Tensor, weight: np.ndarray, attributes: Mapping[str, Any]) -> torch.Tensor:
    return torch.nn.functional.conv2d(
        x,
        torch.tensor(weight),
        stride=attributes.get("strides", [1, 1]),
        padding=attributes.get("pads", [0, 0])[:2],
        dilation=attributes.get("dilations", [1, 1]),
        groups=attributes.get("group", 1),
    )


@pytest.mark.parametrize(("shape", "attributes"), CONVOLUTIONS.values(), ids=CONVOLUTIONS.keys())
@pytest.mark.parametrize("weight_type", [np.uint8, np.int8])
def test_a_dynamically_quantized_convolution(
    shape: tuple[int, ...], attributes: dict[str, Any], weight_type: type[np.integer]
) -> None:
    x = RNG.normal(size=(2, 3, 6, 5)).astype(np.float32)
    limits = {np.uint8: (0, 255), np.int8: (-LARGEST, LARGEST)}[weight_type]
    weight = RNG.integers(*limits, shape, endpoint=True).astype(weight_type)
    zero, scale = weight_type(100), np.float32(0.02)
    nodes = [
        make("DynamicQuantizeLinear", ["x"], ["q", "s", "z"]),
        make("ConvInteger", ["q", "w", "z", "w0"], ["integers"], **attributes),
        make("Cast", ["integers"], ["floats"], to=FLOAT),
        make("Mul", ["s", "sw"], ["both"]),
        make("Mul", ["floats", "both"], ["y"]),
    ]
    image = torch.tensor(x, dtype=torch.float64, requires_grad=True)
    y = _convolution(image, (weight.astype(np.float64) - zero) * scale, attributes)
    cotangent = RNG.normal(size=y.shape)
    model = prepare(integer_model(nodes, {"x": x}, {"w": weight, "w0": np.array(zero), "sw": scale}))
    found = run_gradient(model, "x", {"y": cotangent}, {"x": x})
    assert relative_error(found, gradient_of(y, image, cotangent)) < 1e-5


@pytest.mark.parametrize("left", [True, False], ids=["left", "right"])
def test_a_dynamically_quantized_matrix_product(left: bool) -> None:
    x = RNG.normal(size=(2, 3, 4)).astype(np.float32)
    weight = RNG.integers(0, 255, (4, 5) if left else (5, 3)).astype(np.uint8)
    operands = ["q", "w", "z", "w0"] if left else ["w", "q", "w0", "z"]
    nodes = [
        make("DynamicQuantizeLinear", ["x"], ["q", "s", "z"]),
        make("MatMulInteger", operands, ["integers"]),
        make("Cast", ["integers"], ["floats"], to=FLOAT),
        make("Mul", ["floats", "s"], ["y"]),
    ]
    factor = torch.tensor(weight.astype(np.float64) - 7)
    value = torch.tensor(x, dtype=torch.float64, requires_grad=True)
    y = value @ factor if left else factor @ value
    cotangent = RNG.normal(size=y.shape)
    model = prepare(integer_model(nodes, {"x": x}, {"w": weight, "w0": np.array(7, np.uint8)}))
    found = run_gradient(model, "x", {"y": cotangent}, {"x": x})
    assert relative_error(found, gradient_of(y, value, cotangent)) < 1e-5


@pytest.mark.parametrize(("shape", "attributes"), CONVOLUTIONS.values(), ids=CONVOLUTIONS.keys())
@pytest.mark.parametrize("per_channel", [False, True], ids=["one scale", "a scale per channel"])
@pytest.mark.parametrize("dtype", [np.uint8, np.int8])
def test_a_quantized_convolution(
    shape: tuple[int, ...], attributes: dict[str, Any], per_channel: bool, dtype: type[np.integer]
) -> None:
    low, high = np.iinfo(dtype).min, np.iinfo(dtype).max
    middle = (low + high + 1) // 2
    x = RNG.normal(0, 1.5, (2, 3, 6, 5)).astype(np.float32)
    weight = RNG.integers(-LARGEST, LARGEST, shape, endpoint=True).astype(np.int8)
    count = (shape[0],) if per_channel else ()
    weight_scale = RNG.uniform(0.005, 0.02, count).astype(np.float32)
    constants = {
        "sx": np.float32(0.025),
        "x0": dtype(middle + 9),
        "w": weight,
        "sw": weight_scale,
        "w0": np.zeros(count, np.int8),
        "sy": np.float32(0.03),
        "y0": dtype(middle - 20),
        "b": RNG.integers(-200, 200, shape[:1]).astype(np.int32),
    }
    nodes = [
        make("QuantizeLinear", ["x", "sx", "x0"], ["q"]),
        make("QLinearConv", ["q", "sx", "x0", "w", "sw", "w0", "sy", "y0", "b"], ["p"], **attributes),
        make("DequantizeLinear", ["p", "sy", "y0"], ["y"]),
    ]
    image = torch.tensor(x, dtype=torch.float64, requires_grad=True)
    scales = weight_scale.astype(np.float64).reshape(-1, 1, 1, 1)
    held = Quantized.apply(image, float(constants["sx"]), middle + 9, low, high)
    product = _convolution(held, weight * scales, attributes)
    bias = torch.tensor(constants["b"] * float(constants["sx"]) * scales.reshape(-1)).reshape(-1, 1, 1)
    y = Quantized.apply(product + bias, float(constants["sy"]), middle - 20, low, high)
    cotangent = RNG.normal(size=y.shape)
    reference = gradient_of(y, image, cotangent)
    assert 0 < np.count_nonzero(reference) < reference.size
    found = run_gradient(prepare(integer_model(nodes, {"x": x}, constants)), "x", {"y": cotangent}, {"x": x})
    assert relative_error(found, reference) < 1e-5


def test_a_quantized_matrix_product_of_two_activations() -> None:
    a, b = RNG.normal(size=(2, 3, 4)).astype(np.float32), RNG.normal(size=(2, 4, 5)).astype(np.float32)
    constants = {
        **{"sa": np.float32(0.016), "a0": np.uint8(120), "sb": np.float32(0.014), "b0": np.uint8(140)},
        **{"sy": np.float32(0.025), "y0": np.uint8(128)},
    }
    nodes = [
        make("QuantizeLinear", ["a", "sa", "a0"], ["p"]),
        make("QuantizeLinear", ["b", "sb", "b0"], ["q"]),
        make("QLinearMatMul", ["p", "sa", "a0", "q", "sb", "b0", "sy", "y0"], ["r"]),
        make("DequantizeLinear", ["r", "sy", "y0"], ["y"]),
    ]
    left, right = (torch.tensor(array, dtype=torch.float64, requires_grad=True) for array in (a, b))
    held = [
        Quantized.apply(value, float(constants[f"s{name}"]), int(constants[f"{name}0"]), 0, 255)
        for value, name in ((left, "a"), (right, "b"))
    ]
    y = Quantized.apply(held[0] @ held[1], float(constants["sy"]), 128, 0, 255)
    cotangent = RNG.normal(size=y.shape)
    for name, value in (("a", left), ("b", right)):
        model = prepare(integer_model(nodes, {"a": a, "b": b}, constants))
        found = run_gradient(model, name, {"y": cotangent}, {"a": a, "b": b})
        reference = gradient_of(y, value, cotangent)
        assert 0 < np.count_nonzero(reference) < reference.size
        assert relative_error(found, reference) < 1e-5


def test_scales_of_columns() -> None:
    """QLinearMatMul: a scale and zero point per column of B, through both operands. ONNX Runtime has none per row."""
    a, b = RNG.normal(size=(5, 4)).astype(np.float32), RNG.normal(size=(4, 5)).astype(np.float32)
    columns = RNG.uniform(0.012, 0.03, 5).astype(np.float32)
    # ONNX Runtime wants the same zero point for all columns of uint8.
    zero = np.full(5, 128, np.uint8)
    constants = {
        **{"sa": np.float32(0.016), "a0": np.uint8(120), "sb": columns, "b0": zero},
        **{"sy": np.float32(0.03), "y0": np.uint8(120)},
    }
    nodes = [
        make("QuantizeLinear", ["a", "sa", "a0"], ["p"]),
        make("QuantizeLinear", ["b", "sb", "b0"], ["q"], axis=1),
        make("QLinearMatMul", ["p", "sa", "a0", "q", "sb", "b0", "sy", "y0"], ["r"]),
        make("DequantizeLinear", ["r", "sy", "y0"], ["y"]),
    ]
    left, right = (torch.tensor(array, dtype=torch.float64, requires_grad=True) for array in (a, b))
    scales = torch.tensor(columns.astype(np.float64))
    held = Quantized.apply(left, float(constants["sa"]), 120, 0, 255), Quantized.apply(right, scales, 128, 0, 255)
    y = Quantized.apply(held[0] @ held[1], float(constants["sy"]), 120, 0, 255)
    cotangent = RNG.normal(size=y.shape)
    proto = integer_model(nodes, {"a": a, "b": b}, constants)
    for value in proto.graph.input:
        value.type.tensor_type.shape.dim[0].dim_value = {"a": 5, "b": 4}[value.name]
    for name, value in (("a", left), ("b", right)):
        reference = gradient_of(y, value, cotangent)
        assert np.count_nonzero(reference)
        found = run_gradient(prepare(proto), name, {"y": cotangent}, {"a": a, "b": b})
        assert relative_error(found, reference) < 1e-5
