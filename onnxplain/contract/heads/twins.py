"""Fused and quantized operators, and the standard operator on floats that each computes."""

from __future__ import annotations

from collections.abc import Mapping

MICROSOFT_DOMAIN = "com.microsoft"
STANDARD_DOMAINS = ("", "ai.onnx")

# Definitions: Operators.md of onnx, ContribOperators.md of ONNX Runtime. A test compares these rows with the exporters'
# own table of operators.
FLOAT_TWINS: Mapping[tuple[str, str], str] = {
    ("", "ConvInteger"): "Conv",
    ("", "MatMulInteger"): "MatMul",
    ("", "QLinearConv"): "Conv",
    ("", "QLinearMatMul"): "MatMul",
    (MICROSOFT_DOMAIN, "Attention"): "MatMul",
    (MICROSOFT_DOMAIN, "DynamicQuantizeMatMul"): "MatMul",
    (MICROSOFT_DOMAIN, "FusedConv"): "Conv",
    (MICROSOFT_DOMAIN, "FusedGemm"): "Gemm",
    (MICROSOFT_DOMAIN, "FusedMatMul"): "MatMul",
    (MICROSOFT_DOMAIN, "MatMulIntegerToFloat"): "MatMul",
    (MICROSOFT_DOMAIN, "MatMulNBits"): "MatMul",
    (MICROSOFT_DOMAIN, "QAttention"): "MatMul",
    (MICROSOFT_DOMAIN, "QGemm"): "Gemm",
    (MICROSOFT_DOMAIN, "QLinearAdd"): "Add",
    (MICROSOFT_DOMAIN, "QLinearAveragePool"): "AveragePool",
    (MICROSOFT_DOMAIN, "QLinearConcat"): "Concat",
    (MICROSOFT_DOMAIN, "QLinearConv"): "Conv",
    (MICROSOFT_DOMAIN, "QLinearGlobalAveragePool"): "GlobalAveragePool",
    (MICROSOFT_DOMAIN, "QLinearLeakyRelu"): "LeakyRelu",
    (MICROSOFT_DOMAIN, "QLinearMul"): "Mul",
    (MICROSOFT_DOMAIN, "QLinearSigmoid"): "Sigmoid",
    (MICROSOFT_DOMAIN, "QLinearSoftmax"): "Softmax",
    (MICROSOFT_DOMAIN, "QLinearWhere"): "Where",
    (MICROSOFT_DOMAIN, "TransposeMatMul"): "MatMul",
}


def standard_operator(domain: str, operator: str) -> str:
    """The name of the standard operator that a node computes; of an unknown domain ``domain.Operator``."""
    domain = "" if domain in STANDARD_DOMAINS else domain
    twin = FLOAT_TWINS.get((domain, operator))
    if twin is not None:
        return twin
    return operator if domain in ("", MICROSOFT_DOMAIN) else f"{domain}.{operator}"
