"""QLinearAdd, QGemm and the like against the straight-through formula, and against ONNX Runtime's own kernels."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import onnx
import onnx.helper
import pytest
import torch

from onnxplain.contract import ImageInput
from onnxplain.errors import ModelError, UnsupportedError
from onnxplain.exporters.anatomy.heads import find_heads
from onnxplain.exporters.file.model_file import prepare
from onnxplain.exporters.operators.table import ROWS as OPERATORS
from tests.exporters.definitions import MICROSOFT
from tests.exporters.graphs import relative_error, run_gradient, session
from tests.exporters.processors import LARGEST
from tests.exporters.straight_through import Quantized, gradient_of, integer_model

make = onnx.helper.make_node
functional = torch.nn.functional
RNG = np.random.default_rng(9)
IMAGE = (2, 3, 6, 5)
WEIGHT = RNG.integers(-LARGEST, LARGEST, (5, 4), endpoint=True).astype(np.int8)
BIAS = RNG.integers(-300, 300, 5).astype(np.int32)
KERNEL = RNG.integers(-LARGEST, LARGEST, (4, 3, 3, 2), endpoint=True).astype(np.int8)
CONV_BIAS = RNG.integers(-300, 300, 4).astype(np.int32)
CHOSEN = RNG.random((1, 3, 1, 5)) < 0.5


@dataclass(frozen=True)
class Row:
    """A quantized function of one or two float inputs, quantized with `SCALE`, and the same in torch."""

    operator: str
    shapes: Sequence[tuple[int, ...]]
    inputs: Sequence[str]
    function: Callable[..., torch.Tensor]
    scale: float
    attributes: Mapping[str, Any] = field(default_factory=dict)
    note: str = ""

    def model(self, dtype: type[np.integer]) -> onnx.ModelProto:
        zeros = _zeros(dtype)
        constants = {
            **{"s": np.float32(SCALE), "za": dtype(zeros[0]), "zb": dtype(zeros[1])},
            **{"sy": np.float32(self.scale), "zy": dtype(zeros[2])},
            **{"w": WEIGHT, "sw": np.float32(WEIGHT_SCALE), "zw": np.int8(7), "bias": BIAS},
            **{"sws": WEIGHT_SCALES, "zws": np.zeros(5, np.int8)},
            **{"kernel": KERNEL, "sws4": WEIGHT_SCALES[:4], "zws4": np.zeros(4, np.int8), "conv_bias": CONV_BIAS},
            "chosen": CHOSEN,
        }
        used = {name: array for name, array in constants.items() if name in {*self.inputs, "s", "za", "zb", "sy", "zy"}}
        nodes = [
            *(make("QuantizeLinear", [name, "s", f"z{name}"], [f"q{name}"]) for name in self.floats),
            make(self.operator, self.inputs, ["q"], domain=MICROSOFT, **self.attributes),
            make("DequantizeLinear", ["q", "sy", "zy"], ["y"]) if "sy" in self.inputs else make("Neg", ["q"], ["y"]),
        ]
        return integer_model(nodes, self.floats, used)

    @property
    def floats(self) -> dict[str, np.ndarray]:
        rng = np.random.default_rng(5)
        return {
            name: rng.normal(0, 1.2, shape).astype(np.float32) for name, shape in zip("ab", self.shapes, strict=False)
        }

    def torch(self, tensors: Sequence[torch.Tensor], dtype: type[np.integer]) -> torch.Tensor:
        low, high, zeros = np.iinfo(dtype).min, np.iinfo(dtype).max, _zeros(dtype)
        held = [Quantized.apply(x, SCALE, zero, low, high) for x, zero in zip(tensors, zeros, strict=False)]
        y = self.function(*held)
        return Quantized.apply(y, self.scale, zeros[2], low, high) if "sy" in self.inputs else -y


# Powers of two: dequantized numbers are then exact in float32 and in float64.
SCALE, WEIGHT_SCALE = 2.0**-5, 2.0**-7
WEIGHT_SCALES = np.array([2.0**-7, 2.0**-8, 2.0**-6, 2.0**-7, 2.0**-9], np.float32)


def _zeros(dtype: type[np.integer]) -> tuple[int, int, int]:
    middle = (np.iinfo(dtype).min + np.iinfo(dtype).max + 1) // 2
    return middle + 9, middle - 6, middle + 20


def _linear(weight: np.ndarray, scale: float | np.ndarray, zero: int, bias: bool) -> Callable[..., torch.Tensor]:
    factor = torch.tensor((weight.astype(np.float64) - zero) * np.asarray(scale, np.float64).reshape(-1, 1))
    added = torch.tensor(BIAS * SCALE * np.asarray(scale, np.float64)) if bias else torch.zeros(5, dtype=torch.float64)
    return lambda x: functional.linear(x, factor, added)


def _channels_last(function: Callable[[torch.Tensor], torch.Tensor]) -> Callable[[torch.Tensor], torch.Tensor]:
    return lambda x: function(x.movedim(-1, 1)).movedim(1, -1)


def _conv(x: torch.Tensor) -> torch.Tensor:
    scales = WEIGHT_SCALES[:4].astype(np.float64).reshape(-1, 1, 1, 1)
    bias = torch.tensor(CONV_BIAS * SCALE * scales.reshape(-1))
    return functional.conv2d(functional.pad(x, (0, 1, 1, 1)), torch.tensor(KERNEL * scales), bias)


CONV = ["qa", "s", "za", "kernel", "sws4", "zws4", "sy", "zy", "conv_bias"]
BOTH = ["qa", "s", "za", "qb", "s", "zb", "sy", "zy"]
ONE = ["qa", "s", "za", "sy", "zy"]
ROWS = (
    Row("QLinearAdd", (IMAGE, IMAGE), BOTH, torch.add, 2.0**-6),
    Row("QLinearAdd", (IMAGE, (2, 3, 1, 1)), BOTH, torch.add, 2.0**-6, note="broadcast"),
    Row("QLinearAdd", (IMAGE,), ["qa", "s", "za", "qa", "s", "za", "sy", "zy"], lambda x: x + x, 2.0**-5, note="twice"),
    Row("QLinearMul", (IMAGE, IMAGE), BOTH, torch.mul, 2.0**-6),
    Row("QLinearSigmoid", (IMAGE,), ONE, torch.sigmoid, 1 / 160),
    Row("QLinearLeakyRelu", (IMAGE,), ONE, lambda x: functional.leaky_relu(x, 0.125), 2.0**-6, {"alpha": 0.125}),
    Row("QLinearSoftmax", (IMAGE,), ONE, lambda x: x.softmax(-1), 1 / 180, {"axis": -1, "opset": 13}),
    Row(
        "QLinearAveragePool",
        (IMAGE,),
        ONE,
        lambda x: functional.avg_pool2d(x, 2, (2, 1), count_include_pad=False),
        2.0**-7,
        {"kernel_shape": [2, 2], "strides": [2, 1]},
    ),
    Row(
        "QLinearAveragePool",
        (IMAGE,),
        ONE,
        _channels_last(lambda x: functional.avg_pool2d(x, 2, (2, 1), count_include_pad=False)),
        2.0**-7,
        {"kernel_shape": [2, 2], "strides": [2, 1], "channels_last": 1},
        "channels last",
    ),
    Row("QLinearGlobalAveragePool", (IMAGE,), ONE, lambda x: x.mean((2, 3), keepdim=True), 2.0**-8),
    Row(
        "QLinearGlobalAveragePool",
        (IMAGE,),
        ONE,
        lambda x: x.mean((1, 2), keepdim=True),
        2.0**-8,
        {"channels_last": 1},
        "channels last",
    ),
    Row("QLinearConv", (IMAGE,), CONV, _conv, 2.0**-6, {"pads": [1, 0, 1, 1]}),
    Row(
        "QLinearConv",
        ((2, 6, 5, 3),),
        CONV,
        _channels_last(_conv),
        2.0**-6,
        {"pads": [1, 0, 1, 1], "channels_last": 1},
        "channels last",
    ),
    Row(
        "QLinearWhere",
        (IMAGE, IMAGE),
        ["chosen", *BOTH],
        lambda a, b: torch.where(torch.tensor(CHOSEN), a, b),
        2.0**-6,
    ),
    Row(
        "QLinearConcat",
        (IMAGE, (2, 4, 6, 5)),
        ["sy", "zy", "qa", "s", "za", "qb", "s", "zb"],
        lambda a, b: torch.cat([a, b], 1),
        2.0**-6,
        {"axis": 1},
    ),
    Row(
        "QGemm",
        ((2, 4),),
        ["qa", "s", "za", "w", "sw", "zw", "bias", "sy", "zy"],
        _linear(WEIGHT, WEIGHT_SCALE, 7, bias=True),
        2.0**-7,
        {"transB": 1},
    ),
    Row(
        "QGemm",
        ((2, 4),),
        ["qa", "s", "za", "w", "sws", "zws", "bias", "sy", "zy"],
        _linear(WEIGHT, WEIGHT_SCALES, 0, bias=True),
        2.0**-7,
        {"transB": 1},
        "a scale per column",
    ),
    Row(
        "QGemm",
        ((2, 4),),
        ["qa", "s", "za", "w", "sw", "zw"],
        _linear(WEIGHT, WEIGHT_SCALE, 7, bias=False),
        1e-5,
        {"transB": 1},
        "float result",
    ),
)


@pytest.mark.parametrize("dtype", [np.uint8, np.int8])
@pytest.mark.parametrize("row", ROWS, ids=lambda row: " ".join(filter(None, (row.operator, row.note))))
def test_a_quantized_function(row: Row, dtype: type[np.integer]) -> None:
    proto, feeds = row.model(dtype), row.floats
    tensors = [torch.tensor(array, dtype=torch.float64, requires_grad=True) for array in feeds.values()]
    y = row.torch(tensors, dtype)
    (computed,) = session(proto).run(["y"], feeds)
    # Kernels round halves, and look functions up, each in its own way: one step.
    assert np.abs(computed - y.detach().numpy()).max() <= row.scale * 1.001
    cotangent = RNG.normal(size=y.shape)
    for name, tensor in zip(feeds, tensors, strict=True):
        reference = gradient_of(y, tensor, cotangent)
        assert np.count_nonzero(reference)
        found = run_gradient(prepare(proto), name, {"y": cotangent}, feeds)
        assert relative_error(found, reference) < 1e-5


def test_the_rows_cover_the_table() -> None:
    assert {row.operator for row in ROWS} == {
        row.name for row in OPERATORS if row.domain == MICROSOFT and row.twin is not None and row.integers is not None
    }


@pytest.mark.parametrize(
    ("operator", "attributes", "says"),
    [
        ("QLinearSoftmax", {"opset": 11}, "before opset 13"),
    ],
)
def test_a_form_that_is_not_covered_is_refused(operator: str, attributes: dict[str, int], says: str) -> None:
    row = Row(operator, (IMAGE,), ONE, torch.sigmoid, 0.01, attributes)
    model = prepare(row.model(np.uint8))
    for value in (output for node in model.graph for output in node.outputs):
        value.shape = model.graph.inputs[0].shape
    with pytest.raises(UnsupportedError, match=f"no gradient for {operator} .*{says}"):
        run_gradient(model, "a", {"y": np.ones(IMAGE)}, row.floats)


def test_the_operator_behind_which_no_shape_is_known_is_named() -> None:
    nodes = [make("QLinearReduceMean", ["a"], ["q"], name="the_node", domain=MICROSOFT), make("Neg", ["q"], ["y"])]
    model = prepare(integer_model(nodes, {"a": np.ones((2, 3), np.float32)}, {}))
    with pytest.raises(ModelError, match=r"operator com\.microsoft\.QLinearReduceMean at node .*'the_node'"):
        find_heads(model.graph, ImageInput("a", "float32", "nchw", None, "rgb", (1, 1)))
