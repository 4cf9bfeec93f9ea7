"""Recognising a head of global average pooling + linear layer, and reading the weights of its class activation map.

Zhou et al., Learning Deep Features for Discriminative Localization (CVPR 2016), section 2: if the logits are a linear
function of the spatial means of the maps A_k, the class activation map is M_c = Σ_k w_k^c A_k. The same holds if a
1 × 1 convolution makes class maps that are then averaged.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from enum import Enum

import numpy as np
import onnx_ir as ir

from onnxplain.errors import ModelError
from onnxplain.exporters.graph.values import (
    constant_of,
    describe,
    int_attribute,
    is_constant,
    maybe_dims,
    producer_of,
    reduced_axes,
    spatial_map,
)
from onnxplain.exporters.operators.operator import Hands
from onnxplain.exporters.operators.table import hands_on, look_up, operator_of


@dataclass(frozen=True)
class PooledHead:
    """The layer whose maps are pooled, and the weights w, float32 [C, K], of its class activation map."""

    layer: ir.Value
    weights: np.ndarray


class HeadFault(Enum):
    """Why a head is not global average pooling + linear layer; the fields of `NoPooledHead` complete the texts."""

    KIND = "the default head is of the kind {value}, which has no class activation maps"
    DETECTOR = "a detector has no class activation maps"
    IS_INPUT = "the logits are an input of the graph"
    NOT_LINEAR = "the logits come from {node}, not from a linear layer"
    NOT_POOLED = "the linear layer follows {node}, not global average pooling"
    NOT_CONVOLVED = "the pooled maps come from {node}, not from a 1x1 convolution"
    NOT_POINTWISE = "the class maps come from {node}, which is not a 1x1 convolution"
    NO_MAP = "the pooled value {value!r} is not a map of several positions"
    OTHER_COUNT = "{maps} maps are pooled, but the linear layer has {inputs} inputs"


@dataclass(frozen=True)
class NoPooledHead:
    """Why class activation maps cannot be computed: the fault, and the node, value, kind or numbers that show it."""

    fault: HeadFault
    node: str = "the input"
    value: str | None = None
    maps: int = 0
    inputs: int = 0

    def __str__(self) -> str:
        return self.fault.value.format(**vars(self))


def find_pooled_head(logits: ir.Value) -> PooledHead | NoPooledHead:
    """The head that computes `logits`, or why it is not global average pooling + linear layer."""
    value = _skip(logits, *Hands)
    value = _skip_bias(value)
    node = producer_of(value)
    if node is None:
        return NoPooledHead(HeadFault.IS_INPUT)
    if is_full_pool(node):
        return _class_maps_head(node)
    weights = _linear_weights(node)
    if weights is None:
        return NoPooledHead(HeadFault.NOT_LINEAR, describe(node))
    pool = producer_of(_skip(node.inputs[0], *Hands, clamps=("Clip",)))
    if pool is None or not is_full_pool(pool):
        return _without(HeadFault.NOT_POOLED, pool)
    return _checked(pool.inputs[0], weights)


def is_linear(operators: Iterable[str]) -> bool:
    """Whether a pooled head that consists of these operators is linear: no clamp, no rounding."""
    rows = [look_up("", name) for name in operators]
    return not any(row.clamps or row.hands is Hands.ROUNDED for row in rows)


def _class_maps_head(pool: ir.Node) -> PooledHead | NoPooledHead:
    """A head of a 1 × 1 convolution, an optional Relu on the class maps, and pooling."""
    conv = producer_of(_skip(pool.inputs[0], Hands.WHOLE, Hands.ROUNDED, clamps=("Clip", "Relu")))
    if conv is None or conv.op_type != "Conv":
        return _without(HeadFault.NOT_CONVOLVED, conv)
    weights = _linear_weights(conv)
    if weights is None:
        return _without(HeadFault.NOT_POINTWISE, conv)
    return _checked(conv.inputs[0], weights)


def _without(fault: HeadFault, node: ir.Node | None) -> NoPooledHead:
    """The fault at a node; without a node the logits are an input of the graph."""
    return NoPooledHead(fault) if node is None else NoPooledHead(fault, describe(node))


def _checked(source: ir.Value | None, weights: np.ndarray) -> PooledHead | NoPooledHead:
    layer = tap_point(_skip(source, Hands.WHOLE))
    shape = spatial_map(_dequantized(layer))
    if shape is None:
        return NoPooledHead(HeadFault.NO_MAP, value=layer.name)
    if shape[0] != weights.shape[1]:
        return NoPooledHead(HeadFault.OTHER_COUNT, maps=shape[0], inputs=weights.shape[1])
    return PooledHead(layer, weights)


def tap_point(value: ir.Value) -> ir.Value:
    """The value at which the gradient of a map is taken: in a quantized file the input of its DequantizeLinear."""
    node = producer_of(value)
    if node is not None and node.op_type == "DequantizeLinear" and not is_constant(value):
        source = node.inputs[0]
        return value if source is None else source
    return value


def _dequantized(value: ir.Value) -> ir.Value:
    for node in value.consumers():
        if node.op_type == "DequantizeLinear":
            return node.outputs[0]
    return value


def _skip(value: ir.Value | None, *ways: Hands, clamps: Sequence[str] = ()) -> ir.Value:
    """Walk back over operators that only hand the value on in one of these ways, or that clamp it."""
    while True:
        if value is None:
            raise ModelError("found a node without an input in the classification head, expected one: export it again")
        node = producer_of(value)
        if node is None or is_constant(value) or not (hands_on(node, *ways) or node.op_type in clamps):
            return value
        value = node.inputs[0]


def _skip_bias(value: ir.Value) -> ir.Value:
    node = producer_of(value)
    while node is not None and node.op_type == "Add":
        inner = [source for source in node.inputs if source is not None and not is_constant(source)]
        if len(inner) != 1:
            break
        value = _skip(inner[0], *Hands)
        node = producer_of(value)
    return value


def _linear_weights(node: ir.Node) -> np.ndarray | None:
    """float32 [C, K] of a Gemm, QGemm, MatMul or 1 × 1 Conv with constant weights, else None."""
    if node.op_type not in ("Gemm", "QGemm", "MatMul", "Conv") or is_constant(node.outputs[0]):
        return None
    weights = _dequantized_weights(node) if node.op_type == "QGemm" else constant_of(node.inputs[1])
    if weights is None:
        return None
    if node.op_type == "Conv":
        single = int_attribute(node, "group", 1) == 1 and set(node.attributes.get_ints("strides", ())) <= {1}
        if not single or any(size != 1 for size in weights.shape[2:]):
            return None
        return weights.reshape(weights.shape[:2]).astype(np.float32)
    if weights.ndim != 2 or int_attribute(node, "transA", 0):
        return None
    if node.op_type in ("Gemm", "QGemm"):
        scaled = weights.astype(np.float32) * np.float32(node.attributes.get_float("alpha", 1.0))
        return scaled if int_attribute(node, "transB", 0) else np.ascontiguousarray(scaled.T)
    return np.ascontiguousarray(weights.astype(np.float32).T)


def _dequantized_weights(node: ir.Node) -> np.ndarray | None:
    """(B − z) · s of a QGemm, one scale for all or one per column."""
    integers, scale, zero = (constant_of(source) for source in node.inputs[3:6])
    if integers is None or scale is None:
        return None
    along_columns = (-1, 1) if int_attribute(node, "transB", 0) else (1, -1)
    centred = integers.astype(np.float32)
    if zero is not None:
        centred = centred - zero.astype(np.float32).reshape(along_columns)
    return np.asarray(centred * scale.reshape(along_columns))


def is_full_pool(node: ir.Node) -> bool:
    """Whether the node averages each map to one number."""
    source = node.inputs[0] if node.inputs else None
    shape = None if source is None else maybe_dims(source)
    if source is None or shape is None or len(shape) != 4:
        return False
    computes = operator_of(node).computes
    if computes == "GlobalAveragePool":
        return True
    if computes == "AveragePool":
        kernel = tuple(int(size) for size in node.attributes["kernel_shape"].as_ints())
        out = maybe_dims(node.outputs[0])
        padded = any(node.attributes.get_ints("pads", ()))
        return kernel == shape[2:] and not padded and out is not None and out[2:] == (1, 1)
    return node.op_type == "ReduceMean" and reduced_axes(node, 4) == (2, 3)
