"""Where an operator has no single derivative: ties, bounds, zeros; and what is told at run time only."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import onnx
import onnx.helper
import onnx.numpy_helper
import pytest
import torch

from onnxplain.exporters.file.model_file import prepare
from tests.exporters.graphs import OperatorCase, relative_error, run_gradient

HIGHEST, INFINITY = float(np.finfo(np.float32).max), float("inf")


def _pool(**attributes: Any) -> Callable[[torch.Tensor], torch.Tensor]:
    return lambda x: torch.nn.functional.max_pool2d(x, **attributes)


def _map(*rows: list[float]) -> np.ndarray:
    return np.array(rows, np.float32)[None, None]


functional = torch.nn.functional
TIED = np.array([[1.0, 2.0, 2.0], [0.0, 2.0, 0.0]])
BASES = np.array([[-2.0, 0.0, -0.5, 0.0]])
KINKS = np.array([[-90.0, -15.0, -3.0, -1.0, -0.0, 0.0, 1.0, 3.0, 15.0, 90.0]])
ACTIVATIONS: Mapping[str, Callable[[torch.Tensor], torch.Tensor]] = {
    "Elu": functional.elu,
    "HardSwish": functional.hardswish,
    "LeakyRelu": functional.leaky_relu,
    "Relu": torch.relu,
    "Selu": functional.selu,
    "Sigmoid": torch.sigmoid,
    "Softplus": functional.softplus,
    "Softsign": functional.softsign,
    "Tanh": torch.tanh,
}


def _prod(x: torch.Tensor) -> torch.Tensor:
    return x.prod(1, keepdim=True)


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
    (
        OperatorCase("GlobalMaxPool", (_map([1, 3, 3], [3, 0, 1]),)),
        lambda x: functional.adaptive_max_pool2d(x, 1),
    ),
    # Ties are shared.
    (OperatorCase("Max", (TIED, np.array([[1.0, 2.0, 0.0]]))), lambda x: torch.maximum(x, torch.tensor([[1.0, 2, 0]]))),
    (OperatorCase("Min", (TIED, np.array([[1.0, 2.0, 0.0]]))), lambda x: torch.minimum(x, torch.tensor([[1.0, 2, 0]]))),
    (
        OperatorCase("Max", (TIED, np.array([[1.0, 2.0, 0.0]]), np.array([[1.0, 0.0, 0.0]])), note="three"),
        lambda x: torch.stack([x, *torch.tensor([[[1.0, 2, 0]] * 2, [[1.0, 0, 0]] * 2])]).amax(0),
    ),
    (OperatorCase("ReduceMax", (TIED, np.array([1]))), lambda x: x.amax(1, keepdim=True)),
    (OperatorCase("ReduceMin", (TIED, np.array([1]))), lambda x: x.amin(1, keepdim=True)),
    (OperatorCase("ReduceMax", (np.zeros((2, 3)),), {"keepdims": 0}, note="all-equal"), torch.amax),
    # Zeros.
    *(
        (OperatorCase(operator, (np.array([[-1.0, 0.0, -0.0, 2.0]]),)), function)
        for operator, function in (("Abs", torch.abs), ("Erf", torch.erf), ("Softsign", functional.softsign))
    ),
    (OperatorCase("Sqrt", (np.array([[0.0, 1.0, 4.0]]),)), torch.sqrt),
    (OperatorCase("Reciprocal", (np.array([[-0.5, 1e-18, 1e18]]),)), torch.reciprocal),
    *(
        (
            OperatorCase(operator, (np.array([[0.0, 0.0], [0.0, 3.0]]), np.array([1])), {"keepdims": 0}),
            lambda x, p=p: torch.linalg.vector_norm(x, p, 1),
        )
        for operator, p in (("ReduceL1", 1), ("ReduceL2", 2))
    ),
    *(
        (OperatorCase("ReduceProd", (np.array([[2.0, *zeros, 3.0]]), np.array([1])), note=f"{len(zeros)}-zeros"), _prod)
        for zeros in ((), (0.0,), (0.0, 0.0))
    ),
    (
        OperatorCase("ReduceLogSumExp", (np.array([[100.0, 99.0, -100.0], [-200.0, -201.0, -300.0]]), np.array([1]))),
        lambda x: torch.logsumexp(x, 1, keepdim=True),
    ),
    (
        OperatorCase("LpNormalization", (np.array([[0.0, 3.0, 4.0]]),), {"p": 2}),
        lambda x: functional.normalize(x, 2, -1),
    ),
    (
        OperatorCase("LpNormalization", (np.array([[0.0, -3.0, 4.0]]),), {"p": 1}),
        lambda x: functional.normalize(x, 1, -1),
    ),
    # Powers of zero and of negative numbers.
    *(
        (OperatorCase("Pow", (BASES, np.array(exponent)), note=f"to-the-{exponent}"), lambda x, e=exponent: x**e)
        for exponent in (0.0, 1.0, 2.0, 3.0)
    ),
    (OperatorCase("Pow", (BASES, np.array([0.0, 1.0, 2.0, 3.0]))), lambda x: x ** torch.tensor([0.0, 1, 2, 3])),
)


@pytest.mark.parametrize(("case", "function"), EDGE_CASES, ids=lambda value: getattr(value, "id", ""))
def test_edges_are_as_in_torch(case: OperatorCase, function: Callable[[torch.Tensor], torch.Tensor]) -> None:
    found, reference = _beside_torch(case, function)
    np.testing.assert_allclose(found, reference, rtol=1e-5, atol=1e-12)


def _beside_torch(
    case: OperatorCase, function: Callable[[torch.Tensor], torch.Tensor]
) -> tuple[np.ndarray, np.ndarray]:
    """The emitted gradient and autograd's, for a cotangent that counts up from 1."""
    x = torch.tensor(case.array(0), dtype=torch.float32, requires_grad=True)
    y = function(x)
    cotangent = np.arange(1.0, y.numel() + 1).reshape(y.shape)
    (reference,) = torch.autograd.grad(y, x, torch.tensor(cotangent, dtype=torch.float32))
    return case.emitted_gradient(0, cotangent, open_batch=False), reference.numpy()


# At the kinks, on the bounds, and far from them, where ONNX Runtime's own functions are good to 1e-6 only.
CURVES = (
    *((OperatorCase(operator, (KINKS,)), function) for operator, function in ACTIVATIONS.items()),
    (OperatorCase("Elu", (KINKS,), {"alpha": 0.5}), lambda x: functional.elu(x, 0.5)),
    (OperatorCase("LeakyRelu", (KINKS,), {"alpha": -0.5}), lambda x: functional.leaky_relu(x, -0.5)),
    (OperatorCase("HardSigmoid", (KINKS,), {"alpha": 1 / 6, "beta": 0.5}), functional.hardsigmoid),
    (OperatorCase("ThresholdedRelu", (KINKS,), {"alpha": 3.0}), lambda x: functional.threshold(x, 3.0, 0.0)),
    (OperatorCase("PRelu", (KINKS, np.array([0.25]))), lambda x: functional.prelu(x, torch.tensor([0.25]))),
    (OperatorCase("LogSoftmax", (np.array([[100.0, 100.0, -100.0, 0.0]]),)), lambda x: torch.log_softmax(x, -1)),
    (OperatorCase("Gelu", (KINKS,), opset=20), functional.gelu),
    (
        OperatorCase("Gelu", (KINKS,), {"approximate": "tanh"}, opset=20),
        lambda x: functional.gelu(x, approximate="tanh"),
    ),
    (OperatorCase("Mish", (KINKS,)), functional.mish),
    (OperatorCase("Celu", (KINKS,), {"alpha": 0.5}), lambda x: functional.celu(x, 0.5)),
)


@pytest.mark.parametrize(("case", "function"), CURVES, ids=lambda value: getattr(value, "id", ""))
def test_curves_are_as_in_torch(case: OperatorCase, function: Callable[[torch.Tensor], torch.Tensor]) -> None:
    found, reference = _beside_torch(case, function)
    np.testing.assert_allclose(found, reference, rtol=1e-4, atol=2e-6)


# Where torch has no such operator, or another convention: (case, expected gradient of the sum).
WRITTEN_OUT: Mapping[str, tuple[OperatorCase, list[float]]] = {
    "a window of zeros": (
        OperatorCase("LpPool", (_map([0, 0, 3, 4]),), {"kernel_shape": [1, 2], "strides": [1, 2]}),
        [0, 0, 0.6, 0.8],
    ),
    "a window of zeros, p = 1": (
        OperatorCase("LpPool", (_map([0, 0, -3, 4]),), {"kernel_shape": [1, 2], "strides": [1, 2], "p": 1}),
        [0, 0, -1, 1],
    ),
    "a window cut by the border": (
        OperatorCase("LpPool", (_map([3, 4, 2]),), {"kernel_shape": [1, 2], "strides": [1, 2], "ceil_mode": 1}),
        [0.6, 0.8, 1],
    ),
    "a map of zeros": (OperatorCase("GlobalLpPool", (np.zeros((1, 1, 2, 2)),)), [0, 0, 0, 0]),
    "a row of zeros": (OperatorCase("LpNormalization", (np.zeros((1, 3)),)), [0, 0, 0]),
    "a row of zeros, p = 1": (OperatorCase("LpNormalization", (np.zeros((1, 3)),), {"p": 1}), [0, 0, 0]),
    "exponents at base zero and below": (
        OperatorCase("Pow", (np.array([0.0, -2.0, 1.0, np.e]), np.full(4, 2.0)), wrt=(1,)),
        [0, 0, 0, np.e**2],
    ),
    "a square at run time": (
        OperatorCase("Pow", (np.array([-2.0, 0.0, 3.0]), np.array([2.0, 0.0, 0.0])), wrt=(0, 1)),
        [-4, 0, 0],
    ),
    "Dropout in inference": (OperatorCase("Dropout", (np.array([[1.0, -1.0]]), np.array(0.9, np.float32))), [1, 1]),
    "Gather of nothing": (OperatorCase("Gather", (np.ones(3), np.zeros(0, np.int64))), [0, 0, 0]),
    "Slice of nothing": (OperatorCase("Slice", (np.ones(3), np.array([2]), np.array([1]))), [0, 0, 0]),
}


@pytest.mark.parametrize(("case", "expected"), WRITTEN_OUT.values(), ids=WRITTEN_OUT.keys())
def test_edges_that_torch_does_not_have(case: OperatorCase, expected: list[float]) -> None:
    # Added to the operator's own gradient: that of nothing at all would be refused.
    found = _gradient_beside_identity(case) - 1.0
    np.testing.assert_allclose(found.reshape(-1), expected, rtol=1e-6, atol=1e-6)


def _gradient_beside_identity(case: OperatorCase) -> np.ndarray:
    """Gradient of Σ y + Σ x with respect to the first input that varies."""
    wrt = case.wrt[0]
    model = case.model(np.float32, open_batch=False)
    model.graph.node.append(onnx.helper.make_node("Identity", [f"x{wrt}"], ["itself"]))
    model.graph.output.append(onnx.ValueInfoProto(name="itself"))
    feeds = {f"x{index}": case.array(index).astype(np.float32) for index in case.wrt}
    shape = [
        dim.dim_value for dim in onnx.shape_inference.infer_shapes(model).graph.output[0].type.tensor_type.shape.dim
    ]
    cotangents = {"y": np.ones(shape), "itself": np.ones(case.array(wrt).shape)}
    return run_gradient(prepare(model), f"x{wrt}", cotangents, feeds)


def test_all_outputs_of_a_split_are_read() -> None:
    case = OperatorCase("Split", (np.zeros((2, 6)), np.array([1, 3, 2])), {"axis": 1}, outputs=("y", "z", "w"))
    model = case.model(np.float32, open_batch=True)
    model.graph.output.extend([onnx.ValueInfoProto(name="z"), onnx.ValueInfoProto(name="w")])
    parts = np.split(np.arange(12.0).reshape(2, 6), [1, 4], axis=1)
    found = run_gradient(
        prepare(model), "x0", dict(zip("yzw", parts, strict=True)), {"x0": np.zeros((2, 6), np.float32)}
    )
    np.testing.assert_array_equal(found, np.arange(12.0).reshape(2, 6))


def test_sizes_computed_from_an_open_batch() -> None:
    """How PyTorch writes interpolate(size=…) where the batch is dynamic: the sizes are computed at run time."""
    make = onnx.helper.make_node
    nodes = [
        make("Shape", ["x"], ["batch"], start=0, end=1),
        make("Concat", ["batch", "rest"], ["sizes"], axis=0),
        make("Resize", ["x", "", "", "sizes"], ["y"], mode="linear"),
    ]
    graph = onnx.helper.make_graph(
        nodes,
        "resize",
        [onnx.helper.make_tensor_value_info("x", onnx.TensorProto.FLOAT, ["N", 2, 3, 4])],
        [onnx.helper.make_tensor_value_info("y", onnx.TensorProto.FLOAT, ["N", 2, 5, 7])],
        [onnx.numpy_helper.from_array(np.array([2, 5, 7]), "rest")],
    )
    model = onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 18)], ir_version=10)
    x = torch.randn(3, 2, 3, 4, generator=torch.manual_seed(0), requires_grad=True)
    cotangent = torch.randn(3, 2, 5, 7, generator=torch.manual_seed(1))
    (reference,) = torch.autograd.grad(functional.interpolate(x, (5, 7), mode="bilinear"), x, cotangent)
    found = run_gradient(prepare(model), "x", {"y": cotangent.numpy()}, {"x": x.detach().numpy()})
    assert relative_error(found, reference.numpy()) < 1e-6


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
