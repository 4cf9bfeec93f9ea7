"""Products of two values: Gemm, MatMul, Einsum."""

from __future__ import annotations

from collections.abc import Iterable

from tests.exporters.cases.values import real
from tests.exporters.graphs import OperatorCase


def _gemms() -> Iterable[OperatorCase]:
    for trans_a in (0, 1):
        for trans_b in (0, 1):
            a = real(*((3, 2) if trans_a else (2, 3)))
            b = real(*((4, 3) if trans_b else (3, 4)))
            attributes = {"transA": trans_a, "transB": trans_b}
            # Only one of the two may have an open first axis: the other's is inner or the classes.
            yield OperatorCase("Gemm", (a, b), attributes, wrt=(0, 1), open_batch=False)
            yield OperatorCase(
                "Gemm", (a, b, real(4)), {**attributes, "alpha": 0.5, "beta": -2.0}, wrt=(0, 1, 2), open_batch=False
            )
    yield OperatorCase("Gemm", (real(2, 3), real(4, 3), real(4)), {"transB": 1}, note="classifier")
    yield OperatorCase("Gemm", (real(2, 3), real(3, 4), real(2, 1)), {}, (2,), "column-bias", open_batch=False)
    yield OperatorCase("Gemm", (real(2, 3), real(3, 4), real(1, 1)), {}, (2,), "single-bias", open_batch=False)
    yield OperatorCase("Gemm", (real(2, 3), real(3, 4), real()), {"beta": 3.0}, (2,), "scalar-bias")


def _matmuls() -> Iterable[OperatorCase]:
    shapes = {
        "matrices": ((2, 3), (3, 4)),
        "batched": ((2, 3, 4), (2, 4, 2)),
        "right-shared": ((2, 3, 4), (4, 2)),
        "left-shared": ((3, 4), (2, 4, 2)),
        "both-broadcast": ((2, 1, 2, 3), (3, 3, 2)),
        "stretched-batch": ((1, 2, 3), (3, 3, 2)),
    }
    for note, (left, right) in shapes.items():
        yield OperatorCase("MatMul", (real(*left), real(*right)), wrt=(0, 1), note=note, open_batch=False)
    yield OperatorCase("MatMul", (real(2, 3), real(3, 4)), note="classifier")
    yield OperatorCase("MatMul", (real(2, 3, 4), real(4, 2)), note="tokens")


