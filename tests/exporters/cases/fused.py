"""ONNX Runtime's fused operators of floats: attention, low-bit weights, products with an activation, normalizations."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import ml_dtypes
import numpy as np

from tests.exporters.cases.values import RNG, axes, ints, positive, real
from tests.exporters.definitions import MICROSOFT
from tests.exporters.graphs import OperatorCase


def fused(
    operator: str, *inputs: np.ndarray | None, wrt: tuple[int, ...] = (0,), note: str = "", **more: Any
) -> OperatorCase:
    """A case of the domain com.microsoft; `attributes` and the fields of a case by name."""
    more = {"domain": MICROSOFT, **more}
    return OperatorCase(operator, inputs, more.pop("attributes", {}), wrt, note, **more)


def _multi_head_attentions() -> Iterable[OperatorCase]:
    two = {"num_heads": 2}
    q, k, v = real(2, 3, 8), real(2, 5, 8), real(2, 5, 6)
    yield fused("MultiHeadAttention", q, k, v, wrt=(0, 1, 2), attributes=two, note="separate")
    yield fused("MultiHeadAttention", q, k, v, real(22), wrt=(0, 1, 2), attributes={**two, "scale": 0.25}, note="bias")
    yield fused(
        "MultiHeadAttention",
        *(q, k, v, None, None, real(1, 2, 3, 5)),
        wrt=(0, 1, 2),
        attributes=two,
        note="added-to-the-scores",
    )
    heads = (real(2, 2, 5, 4), real(2, 2, 5, 4))
    yield fused("MultiHeadAttention", q, *heads, wrt=(0, 1, 2), attributes=two, note="keys-by-head")


def _attentions() -> Iterable[OperatorCase]:
    two = {"num_heads": 2}
    weights, bias = real(5, 24) / 2, real(24)
    yield fused("Attention", real(2, 3, 5), weights, bias, attributes=two)
    yield fused("Attention", real(2, 3, 5), weights, bias, attributes={**two, "scale": 0.5}, note="scaled")
    parts = {**two, "qkv_hidden_sizes": [8, 8, 4]}
    yield fused("Attention", real(2, 3, 5), weights[:, :20], bias[:20], attributes=parts, note="narrow-values")
    added = real(1, 2, 3, 3)
    yield fused("Attention", real(2, 3, 5), weights, bias, None, None, added, attributes=two, note="added")


def _low_bit_products() -> Iterable[OperatorCase]:
    for bits in (4, 8):
        for inner in (32, 40):
            blocks, columns = -(-inner // 16), 3
            packed = RNG.integers(0, 256, (columns, blocks, 16 * bits // 8)).astype(np.uint8)
            scales = real(columns, blocks, low=0.5) / 16
            zeros = RNG.integers(0, 256, (columns, -(-blocks * bits // 8))).astype(np.uint8)
            attributes = {"K": inner, "N": columns, "bits": bits, "block_size": 16}
            x = real(2, 2, inner)
            yield fused("MatMulNBits", x, packed, scales, attributes=attributes, note="symmetric")
            yield fused("MatMulNBits", x, packed, scales, zeros, attributes=attributes, note="zero-points")
            # ONNX Runtime has no float zero points of 8 bits.
            floats = real(columns, blocks) if bits == 4 else zeros
            inputs = (x, packed, scales, floats, None, real(columns))
            yield fused("MatMulNBits", *inputs, attributes=attributes, note="float-zero-points-and-bias")


def _low_bit_tables() -> Iterable[OperatorCase]:
    """Rows of a table of 32 columns; what varies is the scale of each block."""
    rng = np.random.default_rng(8)
    indices = np.array([[2, 0], [1, -1]])
    for bits in (2, 4, 8):
        packed = rng.integers(0, 256, (3, 32 * bits // 8)).astype(np.uint8)
        zeros = rng.integers(0, 256, (3, -(-2 * bits // 8))).astype(np.uint8)
        attributes = {"bits": bits, "block_size": 16, "quantize_axis": 1, "gather_axis": 0}
        for given, note in (((), "symmetric"), ((zeros,), "zero-points")):
            inputs = (packed, indices, rng.uniform(0.5, 1.5, (3, 2)), *given)
            yield fused(
                "GatherBlockQuantized", *inputs, wrt=(2,), attributes=attributes, note=note, open_batch=False, opset=21
            )
    for dtype, low, high in ((ml_dtypes.int4, -8, 8), (ml_dtypes.uint4, 0, 16)):
        table = rng.integers(low, high, (20, 5)).astype(dtype)
        zeros = rng.integers(low, high, (2, 5)).astype(dtype)
        for axis, given in ((0, ()), (1, (zeros,))):
            attributes = {"block_size": 16, "quantize_axis": 0, "gather_axis": axis}
            inputs = (table, np.array([4, 1, 1], np.int32), rng.uniform(0.5, 1.5, (2, 5)), *given)
            yield fused("GatherBlockQuantized", *inputs, wrt=(2,), attributes=attributes, open_batch=False, opset=21)


def _products_with_rows_in_front() -> Iterable[OperatorCase]:
    """A [rows, batch, columns], B likewise, as ONNX Runtime fuses a Transpose of the batch into a product."""
    rng = np.random.default_rng(9)

    def integers(*shape: int) -> np.ndarray:
        return rng.integers(-4, 5, shape).astype(np.float64)

    for trans_a in (0, 1):
        for trans_b in (0, 1):
            a = integers(*((3, 2, 3, 4) if trans_a else (4, 2, 3, 3)))
            b = integers(*((5, 2, 3, 3) if trans_b else (3, 2, 3, 5)))
            attributes = {"transBatchA": 1, "transBatchB": 1, "transA": trans_a, "transB": trans_b}
            yield fused("FusedMatMul", a, b, wrt=(0, 1), attributes=attributes, open_batch=False)
    attributes = {"transBatchB": 1, "alpha": 0.5}
    yield fused(
        "FusedMatMul", integers(2, 3, 4, 4), integers(4, 2, 3, 5), wrt=(0, 1), attributes=attributes, open_batch=False
    )


def _fused_gemms() -> Iterable[OperatorCase]:
    parameters: dict[str, dict[str, float]] = {
        **{name: {} for name in ("Relu", "Sigmoid", "Softplus", "Softsign", "Tanh")},
        "Elu": {"activation_alpha": 0.5},
        "HardSigmoid": {"activation_alpha": 0.125, "activation_beta": 0.5},
        "LeakyRelu": {"activation_alpha": 0.25},
        "Selu": {"activation_alpha": 1.5, "activation_gamma": 1.25},
        "ThresholdedRelu": {"activation_alpha": 0.5},
    }
    for activation, numbers in parameters.items():
        attributes = {"activation": activation, "transB": 1, "alpha": 0.5, "beta": 2.0, **numbers}
        yield fused("FusedGemm", real(2, 3), real(4, 3), real(4), wrt=(0, 2), attributes=attributes)


def _normalizations() -> Iterable[OperatorCase]:
    plain = {"attributes": {"epsilon": 0.125}, "domain": ""}
    yield fused("SimplifiedLayerNormalization", real(2, 3, 4), positive(4), **plain)
    plain = {"attributes": {"axis": 1}, "domain": ""}
    yield fused("SimplifiedLayerNormalization", real(2, 3, 4), positive(3, 4), **plain)
    for seeded in ("y", "sum"):
        yield fused(
            "SkipSimplifiedLayerNormalization",
            *(real(2, 3, 4), real(2, 3, 4), positive(4), real(4)),
            wrt=(0, 1),
            outputs=("y", "", "", "sum"),
            seeded=seeded,
        )


FUSED_FLOAT_CASES = (
    *_attentions(),
    *_multi_head_attentions(),
    *_low_bit_products(),
    *_low_bit_tables(),
    *_products_with_rows_in_front(),
    *_fused_gemms(),
    *_normalizations(),
    fused("ExpandDims", real(2, 3), np.array(1, np.int32)),
    fused("TransposeMatMul", real(2, 4, 3), real(2, 5, 3), wrt=(0, 1), attributes={"transB": 1, "alpha": 0.5}),
    fused("Trilu", real(2, 4, 4), attributes={"upper": 0}),
    fused("Pad", ints(2, 3, 4), axes(0, 1, 2, 0, 0, 1), attributes={"mode": "constant"}, step=1.0),
    fused("GridSample", real(2, 2, 4, 5), real(2, 3, 4, 2), wrt=(0, 1), attributes={"mode": "bilinear"}),
)
