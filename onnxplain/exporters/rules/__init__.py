"""The vector-Jacobian product of each ONNX operator: one row per operator.

A rule gets the node and the cotangent of its first output (the others stand in `Site.cotangents`) and returns
one gradient per input: None for shapes, indices, weights that are not asked for. It emits forward operators
only. Rules in `BROADCASTING` may return gradients in the shape of the output; the walk sums them to the input's.
"""

from __future__ import annotations

from collections.abc import Mapping

from onnxplain.exporters.rules.elementwise import (
    add,
    cast,
    clip,
    div,
    dropout,
    identity,
    mul,
    relu,
    sigmoid,
    softmax,
    sub,
)
from onnxplain.exporters.rules.linear import conv, gemm, matmul
from onnxplain.exporters.rules.normalization import batch_normalization
from onnxplain.exporters.rules.pooling import average_pool, global_average_pool, max_pool, reduce_mean
from onnxplain.exporters.rules.quantization import dequantize_linear, quantize_linear
from onnxplain.exporters.rules.shaping import concat, reshape, transpose
from onnxplain.exporters.rules.site import Gradients, Rule, Site

RULES: Mapping[str, Rule] = {
    "Add": add,
    "AveragePool": average_pool,
    "BatchNormalization": batch_normalization,
    "Cast": cast,
    "Clip": clip,
    "Concat": concat,
    "Conv": conv,
    "DequantizeLinear": dequantize_linear,
    "Div": div,
    "Dropout": dropout,
    "Flatten": reshape,
    "Gemm": gemm,
    "GlobalAveragePool": global_average_pool,
    "Identity": identity,
    "MatMul": matmul,
    "MaxPool": max_pool,
    "Mul": mul,
    "QuantizeLinear": quantize_linear,
    "ReduceMean": reduce_mean,
    "Relu": relu,
    "Reshape": reshape,
    "Sigmoid": sigmoid,
    "Softmax": softmax,
    "Squeeze": reshape,
    "Sub": sub,
    "Transpose": transpose,
    "Unsqueeze": reshape,
}

BROADCASTING = frozenset({"Add", "Div", "Gemm", "MatMul", "Mul", "Sub"})

__all__ = ["BROADCASTING", "RULES", "Gradients", "Rule", "Site"]
