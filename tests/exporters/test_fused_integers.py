"""ONNX Runtime's fused operators of integers against the straight-through formula, and their witnesses."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnx
import onnx.helper
import onnx.numpy_helper
import pytest
import torch
from onnxruntime.quantization import QuantType, quantize_dynamic

from onnxplain.contract import EXPLAIN_INPUT, TARGET_INPUT
from onnxplain.exporters import instrument
from onnxplain.exporters.file.model_file import prepare
from onnxplain.exporters.operators.table import ROWS
from tests.exporters.definitions import MICROSOFT
from tests.exporters.graphs import open_session, relative_error, run_gradient, session
from tests.exporters.processors import LARGEST
from tests.exporters.straight_through import Quantized, gradient_of, integer_model
from tests.exporters.test_operator_facts import captured_values, witness_of
from tests.exporters.test_rules import OF_INTEGERS

make = onnx.helper.make_node
functional = torch.nn.functional
RNG = np.random.default_rng(41)
WEIGHT = RNG.integers(-LARGEST, LARGEST, (6, 5), endpoint=True).astype(np.int8)
SCALES, ZEROS = np.array([2.0**-7, 2.0**-6, 2.0**-8, 2.0**-7, 2.0**-9], np.float32), np.array([3, 0, -2, 7, 1], np.int8)
BIAS = RNG.normal(size=5).astype(np.float32)
FACTOR = torch.tensor((WEIGHT.astype(np.float64) - ZEROS) * SCALES)
# Query, key and value of two heads of two channels each.
PROJECTION = RNG.integers(-LARGEST, LARGEST, (6, 12), endpoint=True).astype(np.int8)
PROJECTION_SCALES, PROJECTION_BIAS = np.full(12, 2.0**-6, np.float32), RNG.normal(size=12).astype(np.float32)
PROJECTION_SCALES[::3] = 2.0**-7
CONSTANTS: Mapping[str, np.ndarray] = {
    **{"wp": PROJECTION, "sp": PROJECTION_SCALES, "bp": PROJECTION_BIAS, "zp": np.array(5, np.int8)},
    **{"s1": np.array(2.0**-6, np.float32)},
    **{"w": WEIGHT, "sw": SCALES, "zw": ZEROS, "bias": BIAS},
    **{"s": np.array(2.0**-5, np.float32), "z": np.array(120, np.uint8)},
}


@dataclass(frozen=True)
class IntegerCase:
    """Nodes from x to y, what they compute in torch, and how far rounding may move y (relative)."""

    name: str
    nodes: Sequence[onnx.NodeProto]
    shape: tuple[int, ...]
    function: Callable[[torch.Tensor], torch.Tensor]
    tolerance: float

    def model(self) -> onnx.ModelProto:
        used = {name for node in self.nodes for name in node.input}
        constants = {name: array for name, array in CONSTANTS.items() if name in used}
        return integer_model(list(self.nodes), {"x": self.x}, constants)

    @property
    def x(self) -> np.ndarray:
        return np.random.default_rng(7).normal(0, 1.5, self.shape).astype(np.float32)


def _held(x: torch.Tensor) -> torch.Tensor:
    return Quantized.apply(x, 2.0**-5, 120, 0, 255)


def _pooled(x: torch.Tensor) -> torch.Tensor:
    padded = functional.pad(_held(x).movedim(-1, 1), (1, 0, 0, 1), value=-1e9)
    return functional.max_pool2d(padded, (2, 3), (1, 2)).movedim(1, -1)


def _attended_in_its_own_range(x: torch.Tensor) -> torch.Tensor:
    """DynamicQuantizeLinear: no value lies outside the range, and rounding passes the whole gradient."""
    low, high = min(0.0, float(x.detach().min())), max(0.0, float(x.detach().max()))
    scale = (high - low) / 255
    zero = round(-low / scale)
    rounded = ((x / scale).round() + zero - zero) * scale
    weights = torch.tensor((PROJECTION.astype(np.float64) - 5) * 2.0**-6)
    return _attend(x + (rounded - x).detach(), weights, 2**-0.5)


def _attended(scale: float | np.ndarray, zero: int, factor: float) -> Callable[[torch.Tensor], torch.Tensor]:
    weights = torch.tensor((PROJECTION.astype(np.float64) - zero) * scale)
    return lambda x: _attend(_held(x), weights, factor)


def _attend(x: torch.Tensor, weights: torch.Tensor, factor: float) -> torch.Tensor:
    projected = x @ weights + torch.tensor(PROJECTION_BIAS)
    parts = [part.unflatten(2, (2, 2)).transpose(1, 2) for part in projected.split(4, dim=2)]
    return functional.scaled_dot_product_attention(*parts, scale=factor).transpose(1, 2).flatten(2)


def _attention(*inputs: str, **attributes: float) -> list[onnx.NodeProto]:
    return [
        QUANTIZED,
        make("QAttention", ["q", "wp", "bp", *inputs], ["y"], domain=MICROSOFT, num_heads=2, **attributes),
    ]


QUANTIZED = make("QuantizeLinear", ["x", "s", "z"], ["q"])
TO_FLOAT = ["q", "w", "s", "sw", "z", "zw"]
CASES = (
    IntegerCase(
        "MatMulIntegerToFloat",
        [QUANTIZED, make("MatMulIntegerToFloat", [*TO_FLOAT, "bias"], ["y"], domain=MICROSOFT)],
        (2, 3, 6),
        lambda x: _held(x) @ FACTOR + torch.tensor(BIAS),
        1e-5,
    ),
    IntegerCase(
        "MatMulIntegerToFloat",
        [QUANTIZED, make("MatMulIntegerToFloat", TO_FLOAT, ["y"], domain=MICROSOFT)],
        (4, 6),
        lambda x: _held(x) @ FACTOR,
        1e-5,
    ),
    IntegerCase(
        "MatMulIntegerToFloat",
        [
            make("DynamicQuantizeLinear", ["x"], ["q", "sx", "zx"]),
            make("MatMulIntegerToFloat", ["q", "w", "sx", "sw", "zx", "zw", "bias"], ["y"], domain=MICROSOFT),
        ],
        (2, 3, 6),
        lambda x: x @ FACTOR + torch.tensor(BIAS),
        3e-2,
    ),
    IntegerCase(
        "DynamicQuantizeMatMul",
        [make("DynamicQuantizeMatMul", ["x", "w", "sw", "zw", "bias"], ["y"], domain=MICROSOFT)],
        (2, 3, 6),
        lambda x: x @ FACTOR + torch.tensor(BIAS),
        3e-2,
    ),
    IntegerCase(
        "DynamicQuantizeMatMul",
        [make("DynamicQuantizeMatMul", ["x", "w", "sw", "zw"], ["y"], domain=MICROSOFT)],
        (4, 6),
        lambda x: x @ FACTOR,
        3e-2,
    ),
    *(
        IntegerCase("QAttention", _attention(*inputs, **attributes), shape, function, 1e-5)
        for inputs, attributes, shape, function in (
            (("s", "sp", "", "z"), {}, (2, 3, 6), _attended(PROJECTION_SCALES, 0, 2**-0.5)),
            (("s", "s1", "", "z", "zp"), {}, (2, 3, 6), _attended(2.0**-6, 5, 2**-0.5)),
            (("s", "s1", "", "z"), {"scale": 0.25}, (1, 4, 6), _attended(2.0**-6, 0, 0.25)),
        )
    ),
    IntegerCase(
        "QAttention",
        [
            make("DynamicQuantizeLinear", ["x"], ["q", "sx", "zx"]),
            _attention("sx", "s1", "", "zx", "zp")[1],
        ],
        (2, 3, 6),
        _attended_in_its_own_range,
        1e-5,
    ),
    IntegerCase(
        "NhwcMaxPool",
        [
            QUANTIZED,
            make("NhwcMaxPool", ["q"], ["p"], domain=MICROSOFT, kernel_shape=[2, 3], strides=[1, 2], pads=[0, 1, 1, 0]),
            make("DequantizeLinear", ["p", "s", "z"], ["y"]),
        ],
        (2, 5, 6, 3),
        _pooled,
        1e-6,
    ),
)


def test_the_cases_cover_the_table() -> None:
    written_out = {row.name for row in ROWS if row.made_of is not None}
    assert {case.name for case in CASES} == OF_INTEGERS
    assert written_out >= OF_INTEGERS


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_a_fused_operator_of_integers(case: IntegerCase) -> None:
    proto, x = case.model(), torch.tensor(case.x, dtype=torch.float64, requires_grad=True)
    y = case.function(x)
    (computed,) = session(proto).run(["y"], {"x": case.x})
    assert relative_error(computed, y.detach().numpy()) < case.tolerance
    cotangent = RNG.normal(size=y.shape)
    reference = gradient_of(y, x, cotangent)
    assert np.count_nonzero(reference)
    found = run_gradient(prepare(proto), "x", {"y": cotangent}, {"x": case.x})
    assert relative_error(found, reference) < 1e-5


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_its_witness_has_the_same_derivative(case: IntegerCase) -> None:
    proto, x = case.model(), torch.tensor(case.x, dtype=torch.float64, requires_grad=True)
    y = case.function(x)
    cotangent = np.random.default_rng(3).normal(size=y.shape)
    gradient = gradient_of(y, x, cotangent)
    witness = witness_of(proto, "x")
    captured = captured_values(proto, witness.captured, {"x": case.x})
    flat, step = cotangent.reshape(len(case.x), -1), 1e-6
    found, expected = [], []
    for direction in np.random.default_rng(4).normal(size=(3, *case.shape)):
        sides = [witness.values(case.x + sign * step * direction, captured)[0] for sign in (1, -1)]
        found.append(((sides[0] - sides[1]) * flat).sum() / (2 * step))
        expected.append((gradient * direction).sum())
    # The witness moves integers off their ties by 1/500 of a step, which changes a derivative that is not constant.
    assert relative_error(np.array(found), np.array(expected)) < (1e-3 if case.name == "QAttention" else 1e-4)


def _attention_network() -> onnx.ModelProto:
    """A convolution, its positions as tokens, an Attention as ONNX Runtime's optimiser writes it, logits."""
    rng = np.random.default_rng(17)
    stored = {
        "kernel": rng.normal(size=(6, 3, 3, 3)).astype(np.float32) / 3,
        "projection": rng.normal(size=(6, 12)).astype(np.float32),
        "offsets": rng.normal(size=12).astype(np.float32),
        "head": rng.normal(size=(4, 5)).astype(np.float32),
        "shape": np.array([0, 6, 16]),
    }
    nodes = [
        make("Conv", ["image", "kernel"], ["convolved"], pads=[1] * 4, strides=[2, 2]),
        make("Tanh", ["convolved"], ["maps"]),
        make("Reshape", ["maps", "shape"], ["flat"]),
        make("Transpose", ["flat"], ["tokens"], perm=[0, 2, 1]),
        make("Attention", ["tokens", "projection", "offsets"], ["attended"], domain=MICROSOFT, num_heads=2),
        make("ReduceMean", ["attended"], ["means"], axes=[1], keepdims=0),
        make("MatMul", ["means", "head"], ["logits"]),
    ]
    value = onnx.helper.make_tensor_value_info
    graph = onnx.helper.make_graph(
        nodes,
        "attention",
        [value("image", onnx.TensorProto.FLOAT, ["N", 3, 8, 8])],
        [value("logits", onnx.TensorProto.FLOAT, ["N", 5])],
        [onnx.numpy_helper.from_array(array, name) for name, array in stored.items()],
    )
    opsets = [onnx.helper.make_opsetid("", 17), onnx.helper.make_opsetid(MICROSOFT, 1)]
    return onnx.helper.make_model(graph, opset_imports=opsets, ir_version=8)


def test_a_file_of_onnxruntimes_quantizer(tmp_path: Path) -> None:
    """It makes DynamicQuantizeLinear and QAttention of an Attention; the gradient is nearly that of the float file."""
    found = {}
    onnx.save(_attention_network(), tmp_path / "float.onnx")
    quantize_dynamic(
        tmp_path / "float.onnx",
        tmp_path / "integers.onnx",
        op_types_to_quantize=["Attention"],
        weight_type=QuantType.QUInt8,
    )
    assert "QAttention" in {node.op_type for node in onnx.load(tmp_path / "integers.onnx").graph.node}
    image = np.random.default_rng(3).normal(size=(2, 3, 8, 8)).astype(np.float32)
    feeds = {"image": image, TARGET_INPUT: np.array([1, 4]), EXPLAIN_INPUT: np.array([True])}
    for name in ("float", "integers"):
        written = tmp_path / f"{name}_explainable.onnx"
        spec = instrument(tmp_path / f"{name}.onnx", written, layers=["maps"]).spec
        (found[name],) = open_session(written).run([spec.layers[0].gradients], feeds)
    assert relative_error(found["integers"], found["float"]) < 5e-2
