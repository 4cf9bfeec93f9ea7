"""Finding the attention matrices of a transformer, and the grid that its tokens form.

A matrix is the value of a Softmax that weighs other tokens: [N, heads, T, T], or [N · heads, T, T], the first factor of
a product with the values. Where its tokens lie in the image, the positions of queries and values say.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from enum import Enum

import numpy as np
import onnx_ir as ir

from onnxplain.contract import ATTENTION_LAYER, MapFrame
from onnxplain.errors import ModelError
from onnxplain.exporters.anatomy.arrangement import TOKEN_RANK, Arrangement
from onnxplain.exporters.anatomy.found_maps import arrangement_of
from onnxplain.exporters.anatomy.moves import Followed
from onnxplain.exporters.anatomy.positions import Positions, read_frame
from onnxplain.exporters.anatomy.products import summed_axis
from onnxplain.exporters.graph.path import path_between
from onnxplain.exporters.graph.values import FLOATS, describe, downstream, producer_of
from onnxplain.exporters.operators.operator import Hands
from onnxplain.exporters.operators.table import hands_on, operator_of

PRODUCTS = ("MatMul", "Gemm")
WITHOUT_MATRIX = frozenset({"Attention", "MultiHeadAttention", "QAttention", "PackedAttention", "GroupQueryAttention"})


class AttentionFault(Enum):
    """Why the attention of a graph is not offered; `node` is the operator that shows it."""

    NONE = "found no attention, expected a transformer whose Softmax weighs the tokens of the image"
    FUSED = "found {node}, a fused operator that keeps its matrix to itself, expected Softmax and MatMul"
    ROUNDED = "found {node} on integers, expected attention in floats"
    WINDOWED = "found {node}, which works within windows of the image, expected attention among all tokens"
    OTHERS = "found {node} of {rows} tokens that take from {columns} others, expected tokens that take from each other"
    NO_GRID = "found {node}, whose tokens form no grid that is known, expected one token per patch of the image"
    DIFFERENT = "found {node} on another grid of tokens than the attention before it, expected one grid"
    APART = "found {node}, which does not follow the attention before it, expected one layer behind the other"


_ADVICE = "leave this layer out, or use grad-cam"
_BEFORE = "use the file as it was before it was optimised or quantized, or grad-cam"


@dataclass(frozen=True)
class Matrix:
    """The matrices A of one layer: the value that holds them, and the number of heads."""

    value: ir.Value
    heads: int


@dataclass(frozen=True)
class FoundAttention:
    """All layers of attention, in the graph's order. `tokens`: how the tokens hold the grid; `frame`: where it lies."""

    matrices: tuple[Matrix, ...]
    tokens: Arrangement
    frame: MapFrame

    @property
    def count(self) -> int:
        """T, the number of tokens."""
        return self.tokens.tokens_before + self.tokens.positions + self.tokens.tokens_after


def find_attention(
    places: Mapping[ir.Value, Followed], targets: Sequence[ir.Value], input_size_hw: tuple[int, int]
) -> FoundAttention:
    """The attention on the way from the image to the targets. `places`: where all values lie.

    Raises ModelError, with the first operator that shows it, where it cannot be explained.
    """
    found: list[Matrix] = []
    first: tuple[Arrangement, MapFrame] | None = None
    image = next(iter(places), None)
    for node in [] if image is None else path_between(image, targets):
        if node.op_type in WITHOUT_MATRIX:
            raise _refusal(AttentionFault.FUSED, node)
        product = _product_of(node, places)
        if product is None:
            continue
        value = product.inputs[0]
        assert value is not None
        grid = _grid_of(node, product, places, input_size_hw)
        if first is not None and grid[0] != first[0]:
            raise _refusal(AttentionFault.DIFFERENT, node)
        first = first or grid
        found.append(Matrix(value, _heads_of(places[value])))
    if first is None:
        raise ModelError(f"layer {ATTENTION_LAYER}: {AttentionFault.NONE.value}: {_ADVICE}")
    _check_one_behind_the_other(found)
    return FoundAttention(tuple(found), *first)


def _refusal(fault: AttentionFault, node: ir.Node, **numbers: int) -> ModelError:
    advice = _BEFORE if fault in (AttentionFault.FUSED, AttentionFault.ROUNDED) else _ADVICE
    return ModelError(f"layer {ATTENTION_LAYER}: {fault.value.format(node=describe(node), **numbers)}: {advice}")


def _product_of(node: ir.Node, places: Mapping[ir.Value, Followed]) -> ir.Node | None:
    """The product with the values behind a Softmax of scores; None for any other node."""
    if operator_of(node).computes != "Softmax":
        return None
    value = node.outputs[0]
    while True:
        readers = list(value.consumers())
        products = [each for each in readers if operator_of(each).computes in PRODUCTS and each.inputs[0] is value]
        if products:
            other = products[0].inputs[operator_of(products[0]).weight or 1]
            return products[0] if other is not None and other in places else None
        onward = [each for each in readers if hands_on(each, Hands.WHOLE, Hands.ROUNDED) or each.op_type == "Where"]
        if len(onward) != 1:
            return None
        value = onward[0].outputs[0]


def _grid_of(
    node: ir.Node, product: ir.Node, places: Mapping[ir.Value, Followed], input_size_hw: tuple[int, int]
) -> tuple[Arrangement, MapFrame]:
    """The grid of the tokens, and its frame."""
    weights, values = product.inputs[:2]
    assert weights is not None and values is not None
    if weights.dtype not in FLOATS or operator_of(product).integers is not None:
        raise _refusal(AttentionFault.ROUNDED, node)
    rows, others = places.get(weights), places.get(values)
    if not isinstance(rows, Positions) or not isinstance(others, Positions) or len(rows.shape) < TOKEN_RANK:
        raise _refusal(AttentionFault.NO_GRID, node)
    if any(map(rows.varies_along, range(len(rows.shape) - 2))):
        raise _refusal(AttentionFault.WINDOWED, node)
    if rows.shape[-1] != rows.shape[-2]:
        raise _refusal(AttentionFault.OTHERS, node, rows=rows.shape[-2], columns=rows.shape[-1])
    queries = _along(rows, len(rows.shape) - 2)
    keys = _along(others, summed_axis(product, 1, len(others.shape)))
    if queries is None or keys is None:
        raise _refusal(AttentionFault.NO_GRID, node)
    arrangement = arrangement_of(queries)
    frame = None if arrangement is None else read_frame(queries, arrangement, input_size_hw)
    same = all(
        np.array_equal(one.at, other.at, equal_nan=True) for one, other in zip(queries.both, keys.both, strict=True)
    )
    if arrangement is None or frame is None or not same:
        raise _refusal(AttentionFault.NO_GRID, node)
    return arrangement, frame


def _along(found: Positions, axis: int) -> Positions | None:
    """The positions of entries along one axis as those of tokens, [1, T, 1]; None where others differ too."""
    if any(found.varies_along(other) for other in range(len(found.shape)) if other != axis):
        return None
    return found.map_places((1, found.shape[axis], 1), lambda each: replace(each, at=each.at.reshape(1, -1, 1)))


def _heads_of(found: Followed) -> int:
    """The size of the axis of heads; where it is one with the batch, positions count one image."""
    assert isinstance(found, Positions)
    return found.shape[-3]


def _check_one_behind_the_other(matrices: Sequence[Matrix]) -> None:
    for before, after in itertools.pairwise(matrices):
        node = producer_of(after.value)
        if node is not None and node not in set(downstream(before.value)):
            raise _refusal(AttentionFault.APART, node)
