"""Operators without a rule: those with a function body in onnx, and ONNX Runtime's fused ones."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np

from tests.exporters.cases.fused import fused
from tests.exporters.cases.values import positive, real
from tests.exporters.graphs import OperatorCase


def _attention(
    query: tuple[int, ...],
    key: tuple[int, ...],
    value: tuple[int, ...],
    *rest: np.ndarray | None,
    note: str = "",
    opset: int = 23,
    **attributes: Any,
) -> OperatorCase:
    inputs = (real(*query), real(*key), real(*value), *rest)
    return OperatorCase("Attention", inputs, attributes, (0, 1, 2), note, opset)


def _attentions() -> Iterable[OperatorCase]:
    heads = ((1, 2, 3, 4), (1, 2, 5, 4), (1, 2, 5, 4))
    tokens = ((2, 3, 8), (2, 5, 8), (2, 5, 8))
    counts = {"q_num_heads": 2, "kv_num_heads": 2}
    for opset in (23, 24):
        yield _attention(*heads, note=f"heads-{opset}", opset=opset)
        yield _attention(*tokens, note=f"tokens-{opset}", opset=opset, **counts)
    yield _attention(*heads, note="scaled", scale=0.25)
    yield _attention(*heads, note="capped", softcap=2.0)
    yield _attention((1, 2, 4, 4), (1, 2, 4, 4), (1, 2, 4, 4), note="causal", is_causal=1)
    yield _attention(*heads, np.array([[True, True, False, True, True]] * 3), note="mask")
    yield _attention(*heads, real(3, 5), note="bias")
    yield _attention((1, 4, 3, 4), (1, 2, 5, 4), (1, 2, 5, 4), note="grouped-queries")
    yield _attention((2, 2, 3, 4), (2, 2, 5, 4), (2, 2, 5, 3), note="narrow-values")


def _attributes(**attributes: Any) -> dict[str, Any]:
    return attributes


BODY_CASES = (
    OperatorCase("Gelu", (real(2, 3, 4),), opset=20),
    OperatorCase("Gelu", (real(2, 3, 4),), _attributes(approximate="tanh"), opset=20),
    OperatorCase("Mish", (real(2, 3, 4),)),
    OperatorCase("Celu", (real(2, 3, 4),)),
    OperatorCase("Celu", (real(2, 3, 4),), _attributes(alpha=0.5)),
    OperatorCase("Swish", (real(2, 3, 4),), opset=24),
    OperatorCase("Swish", (real(2, 3, 4),), _attributes(alpha=0.5), opset=24),
    OperatorCase("Shrink", (real(2, 3, 4),), _attributes(lambd=0.5, bias=0.25)),
    OperatorCase("MeanVarianceNormalization", (real(2, 3, 2, 4),), open_batch=False),
    OperatorCase("MeanVarianceNormalization", (real(2, 3, 2, 4),), _attributes(axes=[2, 3])),
    OperatorCase("CastLike", (real(2, 3), np.array(0.0, np.float32))),
    *_attentions(),
)


def _fused_convs() -> Iterable[OperatorCase]:
    parameters = {
        "": (),
        "Relu": (),
        "Tanh": (),
        "Sigmoid": (),
        "LeakyRelu": (0.25,),
        "Clip": (-2.0, 6.0),
        "HardSigmoid": (0.25, 0.5),
    }
    for activation, numbers in parameters.items():
        attributes: dict[str, Any] = {"pads": [1, 1, 1, 1]}
        if activation:
            attributes["activation"] = activation
        if numbers:
            attributes["activation_params"] = list(numbers)
        inputs = (real(2, 2, 4, 3), real(3, 2, 3, 3) / 2, real(3))
        yield fused("FusedConv", *inputs, attributes=attributes)
    inputs = (real(2, 4, 5, 5), real(4, 2, 3, 3) / 2)
    yield fused("FusedConv", *inputs, attributes={"activation": "Relu", "strides": [2, 2], "group": 2}, note="grouped")
    inputs = (real(2, 2, 4, 3), real(2, 2, 3, 3) / 2, real(2), real(2, 2, 4, 3))
    yield fused(
        "FusedConv", *inputs, attributes={"activation": "Relu", "pads": [1, 1, 1, 1]}, wrt=(0, 3), note="with-sum"
    )


FUSED_CASES = (
    *_fused_convs(),
    *(fused(operator, real(2, 3, 4)) for operator in ("Gelu", "FastGelu", "QuickGelu")),
    fused("QuickGelu", real(2, 3, 4), attributes={"alpha": 0.5}),
    *(fused(operator, real(2, 3, 4), real(4), note="bias") for operator in ("BiasGelu", "FastGelu")),
    fused("SkipLayerNormalization", real(2, 3, 4), real(2, 3, 4), positive(4), wrt=(0, 1), note="no-beta"),
    *(
        fused(
            "SkipLayerNormalization",
            *(real(2, 3, 4), real(2, 3, 4), positive(4), real(4), real(4)),
            wrt=(0, 1),
            outputs=("y", "", "", "sum"),
            seeded=seeded,
            attributes={"epsilon": 0.125},
        )
        for seeded in ("y", "sum")
    ),
    *(
        fused(
            "FusedMatMul",
            real(*((2, 3, 4) if trans_a else (2, 4, 3))),
            real(*((2, 5, 3) if trans_b else (2, 3, 5))),
            wrt=(0, 1),
            attributes={"transA": trans_a, "transB": trans_b, "alpha": 0.5},
        )
        for trans_a in (0, 1)
        for trans_b in (0, 1)
    ),
    fused("FusedMatMul", real(2, 3), real(3, 4), note="plain"),
)
