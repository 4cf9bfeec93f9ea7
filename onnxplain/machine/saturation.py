"""Which products of a quantized graph can saturate on processors whose eight-bit kernels do.

ONNX Runtime multiplies uint8 by int8 there with vpmaddubsw: the products of two neighbours are added in int16. Found by
trial with ONNX Runtime 1.31.1 on kernels without VNNI; uint8 · uint8 and int8 · int8 are exact.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

# 255 · (64 + 64) = 32640 fits in int16, 255 · 129 does not.
LARGEST_PAIR = 128


@dataclass(frozen=True)
class Operands:
    """Where a product's operands and their zero points are among its inputs; None: it has no such input."""

    left_zero: int | None
    right: int
    right_zero: int
    left: int = 0


# ConvInteger multiplies the other way round: its weights, input 1, are the kernel's left operand.
INTEGER_PRODUCTS: Mapping[str, Operands] = {
    "ConvInteger": Operands(left=1, left_zero=3, right=0, right_zero=2),
    "DynamicQuantizeMatMul": Operands(left_zero=None, right=1, right_zero=3),
    "MatMulInteger": Operands(left_zero=2, right=1, right_zero=3),
    "MatMulIntegerToFloat": Operands(left_zero=4, right=1, right_zero=5),
    "QAttention": Operands(left_zero=6, right=1, right_zero=7),
    "QGemm": Operands(left_zero=2, right=3, right_zero=5),
    "QLinearConv": Operands(left_zero=2, right=3, right_zero=5),
    "QLinearMatMul": Operands(left_zero=2, right=3, right_zero=5),
}
# ONNX Runtime makes integer products of these where all their operands come out of DequantizeLinear.
FLOAT_PRODUCTS = ("Conv", "Gemm", "MatMul")
# Between a stored weight and its product these only move values.
MOVES = ("Identity", "Reshape", "Squeeze", "Transpose", "Unsqueeze")


@dataclass(frozen=True)
class NodeNames:
    """A node as its operator and the names of its values."""

    operator: str
    inputs: Sequence[str]
    outputs: Sequence[str]


def products_that_saturate(nodes: Sequence[NodeNames], constants: Mapping[str, npt.NDArray[Any]]) -> tuple[str, ...]:
    """The first outputs of the nodes whose products may saturate, in the graph's order.

    `constants`: the graph's constants of 8 bits by name; others may be left out. Which two weights are neighbours is
    the kernel's own choice, so the two largest of a tensor decide. An int8 operand that is computed may have any value.
    """
    makers = {output: node for node in nodes for output in node.outputs}
    found = []
    for node in nodes:
        operands = INTEGER_PRODUCTS.get(node.operator)
        if operands is not None:
            saturates = _may_saturate(*_operands_of(node, operands, constants))
        else:
            saturates = node.operator in FLOAT_PRODUCTS and _float_product_may_saturate(node, constants, makers)
        if saturates:
            found.append(node.outputs[0])
    return tuple(found)


KnownOperand = npt.NDArray[Any] | np.dtype[Any] | None
"""An operand: its values, the type alone where it is computed, None where nothing is known."""


def _operands_of(
    node: NodeNames, at: Operands, constants: Mapping[str, npt.NDArray[Any]]
) -> tuple[KnownOperand, KnownOperand]:
    """The left and the right operand of an operator on integers."""
    found: list[KnownOperand] = []
    for position, zero in ((at.left, at.left_zero), (at.right, at.right_zero)):
        constant = constants.get(_input(node, position))
        zero_point = None if zero is None else constants.get(_input(node, zero))
        found.append(constant if constant is not None or zero_point is None else zero_point.dtype)
    return found[0], found[1]


def _may_saturate(left: KnownOperand, right: KnownOperand) -> bool:
    """uint8 · int8; an int8 operand that is computed may be as large as int8 goes."""
    if _dtype(right) != np.int8 or _dtype(left) == np.int8:
        return False
    if isinstance(left, np.ndarray):
        # Its own values, times int8 at its end.
        return _largest_pair(left) * 128 > np.iinfo(np.int16).max
    return not isinstance(right, np.ndarray) or _largest_pair(right) > LARGEST_PAIR


def _float_product_may_saturate(
    node: NodeNames, constants: Mapping[str, npt.NDArray[Any]], makers: Mapping[str, NodeNames]
) -> bool:
    """Dequantized activations times dequantized int8 weights: ONNX Runtime turns int8 activations into uint8 first."""
    left, right = (_dequantizer(_input(node, index), makers) for index in (0, 1))
    if left is None or right is None:
        return False
    weights = constants.get(right.inputs[0])
    is_computed = constants.get(left.inputs[0]) is None
    return is_computed and weights is not None and weights.dtype == np.int8 and _largest_pair(weights) > LARGEST_PAIR


def _dequantizer(name: str, makers: Mapping[str, NodeNames]) -> NodeNames | None:
    """The DequantizeLinear that a value comes from, moved or not."""
    node = makers.get(name)
    while node is not None and node.operator in MOVES:
        node = makers.get(node.inputs[0])
    return node if node is not None and node.operator == "DequantizeLinear" else None


def _largest_pair(weights: npt.NDArray[Any]) -> int:
    """The sum of the two largest magnitudes, whichever neighbours they are."""
    magnitudes = np.abs(weights.astype(np.int16)).ravel()
    return int(np.partition(magnitudes, -2)[-2:].sum()) if magnitudes.size > 1 else int(magnitudes.sum())


def _dtype(operand: KnownOperand) -> np.dtype[Any] | None:
    return operand.dtype if isinstance(operand, np.ndarray) else operand


def _input(node: NodeNames, index: int) -> str:
    return node.inputs[index] if index < len(node.inputs) else ""
