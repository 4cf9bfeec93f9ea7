"""ONNX Runtime's fused operators of integers against the straight-through formula, and their witnesses."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import onnx
import onnx.helper
import pytest
import torch

from onnxplain.exporters.file.model_file import prepare
from onnxplain.exporters.operators.table import ROWS
from tests.exporters.definitions import MICROSOFT
from tests.exporters.graphs import relative_error, run_gradient, session
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
CONSTANTS: Mapping[str, np.ndarray] = {
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
    assert relative_error(np.array(found), np.array(expected)) < 1e-4
