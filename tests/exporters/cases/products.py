"""Products of two values: Gemm, MatMul, Einsum."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

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
        "two-vectors": ((4,), (4,)),
        "vector-matrix": ((3,), (3, 4)),
        "matrix-vector": ((2, 3), (3,)),
        "vector-batched": ((3,), (2, 3, 4)),
        "batched-vector": ((2, 3, 4), (4,)),
        "vector-heads": ((3,), (2, 2, 3, 4)),
        "heads-vector": ((2, 2, 3, 4), (4,)),
        "heads": ((2, 2, 3, 4), (2, 2, 4, 3)),
    }
    for note, (left, right) in shapes.items():
        yield OperatorCase("MatMul", (real(*left), real(*right)), wrt=(0, 1), note=note, open_batch=False)
    yield OperatorCase("MatMul", (real(2, 3), real(3, 4)), note="classifier")
    yield OperatorCase("MatMul", (real(2, 3, 4), real(4, 2)), note="tokens")
    yield OperatorCase("MatMul", (real(2, 3, 4), real(4)), note="batched-vector")
    yield OperatorCase("MatMul", (real(2, 2, 3, 4), real(2, 2, 4, 3)), wrt=(0, 1), note="heads")


def _einsums() -> Iterable[OperatorCase]:
    rows = {
        "bij,jk->bik": ((2, 3, 4), (4, 5)),
        "bik,bjk->bij": ((2, 3, 4), (2, 5, 4)),
        "bhid,bhjd->bhij": ((2, 2, 3, 4), (2, 2, 5, 4)),
        "bhij,bjhd->bihd": ((2, 2, 3, 4), (2, 4, 2, 3)),
        "i,j->ij": ((3,), (4,)),
        "i,i->": ((3,), (3,)),
        "ij,kj->i": ((2, 3), (4, 3)),
        "ij,jk": ((2, 3), (3, 4)),
        " bi , i -> b ": ((2, 3), (3,)),
        "bi,bc->bi": ((2, 3), (2, 4)),
    }
    for equation, (left, right) in rows.items():
        yield OperatorCase("Einsum", (real(*left), real(*right)), {"equation": equation}, wrt=(0, 1), open_batch=False)
    for equation in ("bij->bji", "bij->bi", "bij->bj", "bij->b", "bij->"):
        yield OperatorCase("Einsum", (real(2, 3, 4),), {"equation": equation})
    yield OperatorCase("Einsum", (real(2, 3, 4), real(4, 5)), {"equation": "bij,jk->bik"}, note="tokens")
    more: dict[str, tuple[tuple[int, ...], ...]] = {
        "...ij,...jk->...ik": ((2, 3, 4), (2, 4, 5)),
        "...ij,...jk": ((2, 2, 3, 4), (2, 2, 4, 5)),
        "b...d,hd->b...h": ((2, 3, 2, 4), (5, 4)),
        "...i,...i->...": ((2, 3, 4), (2, 3, 4)),
        "...,...": ((2, 3), (2, 3)),
        "...ij->...": ((2, 3, 4),),
        "i...->...": ((3, 2, 4),),
        "ii->i": ((3, 3),),
        "ii": ((3, 3),),
        "bii->b": ((2, 3, 3),),
        "biji->bj": ((2, 3, 4, 3),),
        "iii,j->ij": ((2, 2, 2), (3,)),
        "ii,ij->j": ((3, 3), (3, 4)),
        "...ii->...i": ((2, 3, 3),),
        "bi,bj,bk->ijk": ((2, 3), (2, 4), (2, 2)),
        "ab,bc,cd,de->ae": ((2, 3), (3, 2), (2, 4), (4, 3)),
        "Bi,iB->B": ((2, 3), (3, 2)),
        "...ij,...jk->...ki": ((1, 3, 4), (2, 4, 5)),
        "b...i,b...i->b...": ((2, 3, 1, 4), (2, 1, 2, 4)),
    }
    for equation, shapes in more.items():
        operands = tuple(real(*shape) for shape in shapes)
        wrt = tuple(range(len(operands)))
        yield OperatorCase("Einsum", operands, {"equation": equation}, wrt=wrt, note="general", open_batch=False)
    yield OperatorCase("Einsum", (real(2, 3, 4), real(4, 5)), {"equation": "...j,jk->...k"}, note="open")
    yield OperatorCase("Einsum", (real(2, 3, 3),), {"equation": "...ii->...i"}, note="open")
    three = (real(2, 3), real(3, 4), real(4, 2))
    yield OperatorCase("Einsum", three, {"equation": "bi,ij,jk->bk"}, wrt=(0, 1, 2), open_batch=False)


def _rotations() -> Iterable[OperatorCase]:
    heads, tokens = real(2, 2, 3, 4), real(2, 3, 8)
    angles = (real(2, 3, 2), real(2, 3, 2))
    table, positions = (real(5, 2), real(5, 2)), np.array([[0, 3, 1], [4, 4, 2]])
    for interleaved in (0, 1):
        yield OperatorCase(
            "RotaryEmbedding", (heads, *angles), {"interleaved": interleaved}, opset=23, open_batch=False
        )
        attributes = {"interleaved": interleaved, "num_heads": 2}
        yield OperatorCase("RotaryEmbedding", (tokens, *angles), attributes, opset=23, open_batch=False)
    yield OperatorCase("RotaryEmbedding", (heads, *table, positions), opset=23, note="by-position", open_batch=False)
    part = (real(2, 3, 1), real(2, 3, 1))
    yield OperatorCase("RotaryEmbedding", (heads, *part), {"rotary_embedding_dim": 2}, opset=23, open_batch=False)


PRODUCT_CASES = (*_gemms(), *_matmuls(), *_einsums(), *_rotations())
