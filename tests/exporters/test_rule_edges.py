"""Where an operator has no single derivative: ties, bounds, saturation; and forms that are refused."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import onnx
import onnx.helper
import onnx.numpy_helper
import pytest
import torch

from onnxplain.errors import UnsupportedError
from onnxplain.exporters.model_file import prepare
from tests.exporters.graphs import OperatorCase, relative_error, run_gradient

HIGHEST, INFINITY = float(np.finfo(np.float32).max), float("inf")


def _pool(**attributes: Any) -> Callable[[torch.Tensor], torch.Tensor]:
    return lambda x: torch.nn.functional.max_pool2d(x, **attributes)


def _map(*rows: list[float]) -> np.ndarray:
    return np.array(rows, np.float32)[None, None]


EDGE_CASES = (
    (OperatorCase("Relu", (np.array([[-1.0, -0.0, 0.0, 1e-30, 2.0]]),)), torch.relu),
    (OperatorCase("Relu", (np.array([[-INFINITY, INFINITY, -HIGHEST, HIGHEST]]),)), torch.relu),
    (
        OperatorCase("Clip", (np.array([[-1.0, 0.0, 1e-30, 3.0, 6.0, 6.5]]), np.array(0.0), np.array(6.0))),
        torch.nn.functional.relu6,
    ),
    (
        OperatorCase("Clip", (np.array([[-2.0, -1.0, 0.0, 1.0, 2.0]]), np.array(-1.0), np.array(1.0))),
        torch.nn.functional.hardtanh,
    ),
    (OperatorCase("Sigmoid", (np.array([[-100.0, -30.0, 0.0, 30.0, 100.0]]),)), torch.sigmoid),
    (OperatorCase("Softmax", (np.array([[100.0, 100.0, -100.0, 0.0]]),)), lambda x: torch.softmax(x, -1)),
    (
        OperatorCase("MaxPool", (np.zeros((1, 2, 4, 4)),), {"kernel_shape": [2, 2], "strides": [2, 2]}),
        _pool(kernel_size=2),
    ),
    (
        OperatorCase(
            "MaxPool", (np.zeros((1, 1, 5, 5)),), {"kernel_shape": [3, 3], "strides": [2, 2], "pads": [1, 1, 1, 1]}
        ),
        _pool(kernel_size=3, stride=2, padding=1),
    ),
    (
        OperatorCase("MaxPool", (_map([1, 1, 0], [0, 1, 1], [1, 0, 1]),), {"kernel_shape": [2, 2]}),
        _pool(kernel_size=2, stride=1),
    ),
    (
        OperatorCase(
            "MaxPool", (np.full((1, 1, 3, 3), -7.0),), {"kernel_shape": [3, 3], "pads": [1, 1, 1, 1]}, note="negative"
        ),
        _pool(kernel_size=3, stride=1, padding=1),
    ),
    (
        OperatorCase("MaxPool", (_map([-INFINITY, -HIGHEST], [HIGHEST, INFINITY]),), {"kernel_shape": [1, 2]}),
        _pool(kernel_size=(1, 2), stride=1),
    ),
)


@pytest.mark.parametrize(("case", "function"), EDGE_CASES, ids=lambda value: getattr(value, "id", ""))
def test_edges_are_as_in_torch(case: OperatorCase, function: Callable[[torch.Tensor], torch.Tensor]) -> None:
    x = torch.tensor(case.array(0), dtype=torch.float32, requires_grad=True)
    y = function(x)
    cotangent = np.arange(1.0, y.numel() + 1).reshape(y.shape)
    (reference,) = torch.autograd.grad(y, x, torch.tensor(cotangent, dtype=torch.float32))
    found = case.emitted_gradient(0, cotangent, open_batch=False)
    np.testing.assert_allclose(found, reference.numpy(), rtol=1e-5, atol=1e-12)


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


HALF_CASES = (
    OperatorCase("Conv", (np.ones((1, 2, 4, 4)), np.full((3, 2, 3, 3), 0.5)), {"pads": [1, 1, 1, 1]}, step=1.0),
    OperatorCase("MaxPool", (np.arange(16.0).reshape(1, 1, 4, 4),), {"kernel_shape": [2, 2]}, step=0.25),
    OperatorCase("Sigmoid", (np.array([[-1.0, 0.5, 2.0]]),)),
    OperatorCase("Mul", (np.array([[-1.0, 0.5, 2.0]]), np.array([0.5, 3.0, -1.5])), wrt=(0, 1)),
    OperatorCase("Clip", (np.array([[-1.0, 0.5, 7.0]]), np.array(0.0), np.array(6.0))),
    # float16 files stay below opset 18, where the axes are an attribute.
    OperatorCase("ReduceMean", (np.arange(24.0).reshape(2, 3, 4),), {"axes": [1], "keepdims": 0}, opset=17),
    OperatorCase("ReduceMean", (np.arange(24.0).reshape(2, 3, 4),), {"axes": [-1, 1]}, opset=17),
)


@pytest.mark.parametrize("case", HALF_CASES, ids=lambda case: case.id)
def test_float16_graphs_are_differentiated_in_float32(case: OperatorCase) -> None:
    cotangent = 1.0 + np.arange(case.forward({}).size).reshape(case.forward({}).shape) / 4
    for wrt in case.wrt:
        feeds = {f"x{index}": case.array(index).astype(np.float16) for index in case.wrt}
        found = run_gradient(prepare(case.model(np.float16, open_batch=True)), f"x{wrt}", {"y": cotangent}, feeds)
        assert found.dtype == np.float32
        assert relative_error(found, case.numerical_gradient(wrt, cotangent)) < 2e-3


_X, _MAP = np.ones((2, 3)), np.ones((1, 2, 4, 4))
REFUSED: Mapping[str, tuple[OperatorCase, str]] = {
    "Conv weight": (OperatorCase("Conv", (_MAP, np.ones((2, 2, 1, 1))), wrt=(1,)), "weight or bias depends"),
    "Clip bound": (OperatorCase("Clip", (_X, np.array(0.0)), wrt=(1,)), "bound depends"),
    "Dropout": (OperatorCase("Dropout", (_X, np.array(0.5, np.float32), np.array(True))), "training mode"),
    "BatchNormalization training": (
        OperatorCase(
            "BatchNormalization",
            (_MAP, *[np.ones(2)] * 4),
            {"training_mode": 1},
            outputs=("y", "mean", "variance"),
        ),
        "training mode",
    ),
    "BatchNormalization scale": (
        OperatorCase("BatchNormalization", (_MAP, *[np.ones(2)] * 4), wrt=(1,)),
        "statistics depend",
    ),
    "MatMul vector": (OperatorCase("MatMul", (_X, np.ones(3))), "one-dimensional"),
    "QuantizeLinear scale": (
        OperatorCase("QuantizeLinear", (_X, np.array(0.1), np.array(0, np.uint8)), wrt=(1,)),
        "scale depends",
    ),
}


@pytest.mark.parametrize(("case", "reason"), REFUSED.values(), ids=REFUSED.keys())
def test_forms_without_a_gradient_are_refused_with_the_node(case: OperatorCase, reason: str) -> None:
    shape = (1, 2, 4, 4) if case.array(0).ndim == 4 else (2, 3)
    with pytest.raises(UnsupportedError, match=rf"{case.operator} 'node': .*{reason}"):
        case.emitted_gradient(case.wrt[0], np.ones(shape), open_batch=False)


def test_blocked_quantization_is_refused() -> None:
    case = OperatorCase(
        "DequantizeLinear",
        (np.ones((4, 2)), np.full((2, 2), 0.5), np.zeros((2, 2), np.int8)),
        {"axis": 0, "block_size": 2},
        opset=21,
    )
    proto = case.model(np.float32, open_batch=False)
    proto.graph.input[0].type.tensor_type.elem_type = onnx.TensorProto.INT8
    with pytest.raises(UnsupportedError, match="blocked quantization"):
        run_gradient(prepare(proto), "x0", {"y": np.ones((4, 2))}, {})


def test_axes_computed_at_run_time_are_refused() -> None:
    case = OperatorCase("ReduceMean", (_X, np.array([1])))
    proto = case.model(np.float32, open_batch=False)
    del proto.graph.initializer[0]
    proto.graph.input.append(onnx.helper.make_tensor_value_info("x1", onnx.TensorProto.INT64, [1]))
    proto.graph.output[0].CopyFrom(onnx.helper.make_tensor_value_info("y", onnx.TensorProto.FLOAT, [2, 1]))
    with pytest.raises(UnsupportedError, match="axes are computed at run time"):
        run_gradient(prepare(proto), "x0", {"y": np.ones((2, 1))}, {})
