"""Products of uint8 and int8 on processors on which they saturate, and which graphs do not notice."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
import onnx
import onnx.helper
import pytest
import torch

from tests.exporters.definitions import MICROSOFT
from tests.exporters.processors import LARGEST, require_same_everywhere, saturating_product
from tests.exporters.straight_through import integer_model

make = onnx.helper.make_node


@pytest.mark.parametrize(
    ("weights", "activations", "says"),
    [
        ((LARGEST, LARGEST), (255, 255), 32640),
        ((-LARGEST, -LARGEST), (255, 255), -32640),
        ((LARGEST + 1, LARGEST), (255, 255), 32767),
        ((-LARGEST - 1, -LARGEST), (255, 255), -32768),
        ((127, -128), (255, 255), -255),
        ((127, 127), (129, 129), 32766),
        ((127, 127), (129, 130), 32767),
        ((127,), (255,), 32385),
    ],
)
def test_a_pair_ends_where_int16_ends(weights: tuple[int, ...], activations: tuple[int, ...], says: int) -> None:
    left, right = np.array([activations], np.uint8), np.array(weights, np.int8)[:, None]
    assert saturating_product(left, right) == [[says]]


@pytest.mark.parametrize("odd", [0, 1])
def test_sums_of_pairs_do_not_end(odd: int) -> None:
    left, right = np.full((2, 600 + odd), 255, np.uint8), np.full((600 + odd, 3), 127, np.int8)
    np.testing.assert_array_equal(saturating_product(left, right), np.full((2, 3), 300 * 32767 + odd * 255 * 127))


@pytest.mark.parametrize("seed", range(3))
def test_weights_within_the_limit_are_exact_in_any_order(seed: int) -> None:
    rng = np.random.default_rng(seed)
    left = rng.choice([0, 1, 254, 255], (40, 27)).astype(np.uint8)
    right = rng.choice([-LARGEST, 1 - LARGEST, 0, LARGEST], (27, 20)).astype(np.int8)
    order = rng.permutation(27)
    exact = left.astype(int) @ right.astype(int)
    np.testing.assert_array_equal(saturating_product(left[:, order], right[order]), exact)
    assert (saturating_product(left, (right * 1.5).astype(np.int8)) != exact * 1.5).any()


@pytest.mark.parametrize(("reach", "steps"), [(100, 49), (63, 0)])
def test_the_simulation_is_off_by_what_was_measured(reach: int, steps: int) -> None:
    """A QLinearConv of ONNX Runtime 1.31 with AVX2 and without VNNI differs from ONNX's reference by 49 steps, or 0."""
    rng = np.random.default_rng(0)
    x = rng.normal(0, 1.5, (2, 3, 6, 5)).astype(np.float32)
    weights = {size: rng.integers(-size, size, (4, 3, 3, 3)).astype(np.int8) for size in (100, 63)}
    q = np.clip(np.round(x / np.float32(0.025)) + 128, 0, 255)
    padded = torch.tensor(np.pad(q, ((0, 0), (0, 0), (1, 1), (1, 1)), constant_values=128))
    # Windows as rows, channels last: the order in which that kernel multiplies.
    windows = torch.nn.functional.unfold(padded, 3).numpy().reshape(2, 3, 9, -1).transpose(0, 3, 2, 1).reshape(-1, 27)
    left, right = windows.astype(np.uint8), weights[reach].transpose(2, 3, 1, 0).reshape(27, 4)
    results = [
        np.clip(np.round((product - 128 * right.sum(axis=0, dtype=int)) * (0.025 * 0.01 / 0.03)) + 128, 0, 255)
        for product in (saturating_product(left, right), left.astype(int) @ right.astype(int))
    ]
    assert np.abs(results[0] - results[1]).max() == steps


@dataclass(frozen=True)
class Graph:
    """The nodes from the float x to y around one product by ``w``, and what of it may saturate."""

    nodes: list[onnx.NodeProto]
    saturates: bool
    weight: np.ndarray = field(default_factory=lambda: _weight(np.int8, LARGEST + 1))
    zero: np.ndarray = field(default_factory=lambda: np.array(0, np.int8))


def _weight(dtype: type[np.integer], largest: int) -> np.ndarray:
    weight = np.ones((4, 4), dtype)
    weight[1, 2] = largest
    return weight


QUANTIZE, DEQUANTIZE = make("QuantizeLinear", ["x", "s", "z"], ["q"]), make("DequantizeLinear", ["p", "s", "z"], ["y"])
LINEAR = [QUANTIZE, make("QLinearMatMul", ["q", "s", "z", "w", "s", "v", "s", "z"], ["p"]), DEQUANTIZE]
BY_FLOATS = [
    QUANTIZE,
    make("DequantizeLinear", ["q", "s", "z"], ["a"]),
    make("DequantizeLinear", ["w", "s", "v"], ["b"]),
    make("MatMul", ["a", "b"], ["y"]),
]
SIGNED, UNSIGNED = {"weight": _weight(np.int8, LARGEST)}, {"weight": _weight(np.uint8, 255), "zero": np.uint8(0)}
GRAPHS: Mapping[str, Graph] = {
    "QLinearMatMul": Graph(LINEAR, True),
    "QLinearMatMul, negative": Graph(LINEAR, True, _weight(np.int8, -128)),
    "QLinearMatMul within the limit": Graph(LINEAR, False, **SIGNED),
    "QLinearMatMul in uint8": Graph(LINEAR, False, **UNSIGNED),
    "QLinearConv": Graph([make("QLinearConv", ["q", "s", "z", "w", "s", "v", "s", "z"], ["y"])], True),
    "QGemm": Graph([make("QGemm", ["q", "s", "z", "w", "s", "v"], ["y"], domain=MICROSOFT)], True),
    "ConvInteger": Graph([make("ConvInteger", ["q", "w", "z"], ["y"])], True),
    "ConvInteger within the limit": Graph([make("ConvInteger", ["q", "w", "z"], ["y"])], False, **SIGNED),
    "MatMulInteger by an activation": Graph([make("MatMulInteger", ["w", "q", "v", "z"], ["y"])], False),
    "MatMulInteger by an int8 activation": Graph([make("MatMulInteger", ["w", "q", "z", "v"], ["y"])], True),
    "DynamicQuantizeMatMul": Graph([make("DynamicQuantizeMatMul", ["x", "w", "s", "v"], ["y"])], True),
    "floats that become integers": Graph(BY_FLOATS, True),
    "floats that become integers, within the limit": Graph(BY_FLOATS, False, **SIGNED),
    "floats that become uint8": Graph(BY_FLOATS, False, **UNSIGNED),
    "floats": Graph([BY_FLOATS[2], make("MatMul", ["x", "b"], ["y"])], False),
}


@pytest.mark.parametrize("graph", GRAPHS.values(), ids=GRAPHS.keys())
def test_a_graph_that_may_saturate_is_found(graph: Graph) -> None:
    constants = {"s": np.float32(1), "z": np.uint8(128), "w": graph.weight, "v": graph.zero}
    model = integer_model(graph.nodes, {"x": np.zeros((2, 4), np.float32)}, constants)
    if graph.saturates:
        with pytest.raises(AssertionError, match=r"int8 beyond ±64 is multiplied by \['[py]'\]"):
            require_same_everywhere(model)
    else:
        require_same_everywhere(model)
