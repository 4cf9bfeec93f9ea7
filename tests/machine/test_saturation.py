"""Which products may saturate: kinds of graphs as found by trial, and weights against the simulated instruction."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from onnxplain.machine.saturation import NodeNames, products_that_saturate
from tests.exporters.processors import saturating_product


@dataclass(frozen=True)
class Kind:
    """A product of x, an activation of one type, by weights w of another; `saturates`: on the AVX2 kernels."""

    nodes: tuple[NodeNames, ...]
    activations: type[np.integer]
    weights: type[np.integer]
    saturates: bool


def node(operator: str, inputs: str, output: str = "y") -> NodeNames:
    return NodeNames(operator, inputs.split(), [output])


LITERAL = {
    "MatMulInteger": "x w za zw",
    "QLinearMatMul": "x s za w s zw s za",
    "QLinearConv": "x s za w s zw s za",
    "QGemm": "x s za w s zw b s za",
    "MatMulIntegerToFloat": "x w s s za zw",
}
DEQUANTIZED = (node("DequantizeLinear", "x s za", "a"), node("DequantizeLinear", "w s zw", "b"))
TRANSPOSED = (*DEQUANTIZED, node("Transpose", "b", "t"))
U, S = np.uint8, np.int8
# ONNX Runtime 1.31.1 on AVX2 kernels without VNNI, activations and weights at the ends of their ranges.
TYPES = [(U, U), (U, S), (S, U), (S, S)]
KINDS = [
    *(Kind((node(name, names),), *types, types == (U, S)) for name, names in LITERAL.items() for types in TYPES),
    *(
        Kind((*DEQUANTIZED, node(name, "a b")), *types, types[1] is S)
        for name in ("Conv", "Gemm", "MatMul")
        for types in TYPES
    ),
    *(Kind((*TRANSPOSED, node("MatMul", "a t")), *types, types[1] is S) for types in TYPES),
    # Its weights are the kernel's left operand.
    *(Kind((node("ConvInteger", "x w za zw"),), *types, types == (S, U)) for types in TYPES),
    # Both from activations, and weights on the left: ONNX Runtime does not saturate there.
    Kind((*DEQUANTIZED, node("MatMul", "b a")), U, S, False),
    Kind((DEQUANTIZED[0], node("MatMul", "a a")), S, S, False),
    # By an activation.
    Kind((node("MatMulInteger", "w x zw za"),), S, U, True),
    Kind((node("MatMulInteger", "w x zw za"),), U, S, False),
    Kind((node("QAttention", "x w bias s s mask za zw"),), U, S, True),
    Kind((node("QAttention", "x w bias s s mask za zw"),), U, U, False),
    Kind((node("DynamicQuantizeMatMul", "x w s zw"),), U, S, True),
    Kind((node("DynamicQuantizeMatMul", "x w s zw"),), U, U, False),
    Kind((DEQUANTIZED[1], node("Conv", "x b")), U, S, False),
    Kind((node("Add", "x w"),), U, S, False),
]


def constants(kind: Kind, weights: np.ndarray | None = None) -> Mapping[str, np.ndarray]:
    ends = np.iinfo(kind.weights)
    stored = np.array([ends.min, ends.max, ends.max], kind.weights) if weights is None else weights
    return {"w": stored, "za": kind.activations(0), "zw": kind.weights(0)}


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: f"{kind.nodes[-1]}-{kind.activations}-{kind.weights}")
def test_a_kind_of_product(kind: Kind) -> None:
    assert products_that_saturate(kind.nodes, constants(kind)) == (("y",) if kind.saturates else ())


@pytest.mark.parametrize(
    ("weights", "saturates"),
    [([64, -64, 0], False), ([65, 64], True), ([-128, 0], False), ([-128, 1], True), ([127], False), ([], False)],
)
@pytest.mark.parametrize("kind", [KINDS[1], Kind((*DEQUANTIZED, node("MatMul", "a b")), U, S, True)])
def test_the_limit(kind: Kind, weights: list[int], saturates: bool) -> None:
    found = products_that_saturate(kind.nodes, constants(kind, np.array(weights, np.int8)))
    assert found == (("y",) if saturates else ())


@given(arrays.arrays(np.int8, st.tuples(st.integers(1, 6), st.just(1))), st.randoms(use_true_random=False))
def test_no_order_of_weights_without_a_finding_saturates(weights: np.ndarray, random: object) -> None:
    left = np.full((1, len(weights)), 255, np.uint8)
    exact = left.astype(int) @ weights.astype(int)
    order = np.argsort(-np.abs(weights.astype(int)), axis=0).ravel()
    saturated = saturating_product(left, weights[order]) != exact
    found = products_that_saturate(KINDS[1].nodes, constants(KINDS[1], weights))
    assert found or not saturated.any()
    # With the two largest side by side and of one sign, the bound is exact.
    if len(weights) > 1 and (weights[order[:2]] > 0).all():
        assert bool(found) == bool(saturated.any())
