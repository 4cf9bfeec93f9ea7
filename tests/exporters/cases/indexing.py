"""Operators that pick, place, repeat and order values."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np

from tests.exporters.cases.values import axes, ints, real
from tests.exporters.graphs import OperatorCase


def _gathers() -> Iterable[OperatorCase]:
    yield OperatorCase("Gather", (real(2, 5, 4), np.array(0)), {"axis": 1}, note="first")
    yield OperatorCase("Gather", (real(2, 5, 4), np.array(-1)), {"axis": 1}, note="last")
    yield OperatorCase("Gather", (real(2, 5, 4), np.array(2)), {"axis": -1}, note="one")
    yield OperatorCase("Gather", (real(2, 5, 4), axes(3)), {"axis": 1}, note="one-kept")
    yield OperatorCase("Gather", (real(2, 5, 4), axes(1, 1, -1)), {"axis": 1}, note="repeated")
    yield OperatorCase("Gather", (real(2, 5, 4), axes(4, 0, 2)), {"axis": -2}, note="several")
    yield OperatorCase("Gather", (real(2, 3, 4), np.array([[0, 2], [1, 1]])), {"axis": 2}, note="matrix")
    yield OperatorCase("Gather", (real(2, 3, 4), np.array([[0, 2], [1, 1]])), {"axis": 1}, note="matrix")
    yield OperatorCase("Gather", (real(2, 3, 4), np.array([[1]])), {"axis": 1}, note="matrix-of-one")
    yield OperatorCase("Gather", (real(5, 4), axes(0, 3, 3)), note="rows", open_batch=False)
    yield OperatorCase("Gather", (real(3, 4), np.array([[0, 1], [1, -3]])), note="rows", open_batch=False)
    yield OperatorCase("Gather", (real(2, 5), np.array([1, 0], np.int32)), {"axis": 1}, note="int32")
    yield OperatorCase("GatherElements", (real(2, 5), np.array([[0, 0, 1], [1, -1, 4]])), {"axis": 1})
    yield OperatorCase("GatherElements", (real(2, 5), np.array([[0, 1, 1, 0, 0]])), open_batch=False)
    yield OperatorCase("GatherElements", (real(2, 3, 4), np.array([[[3], [0], [2]], [[1], [1], [-1]]])), {"axis": -1})
    yield OperatorCase("GatherND", (real(2, 5, 3), np.array([[0, 0], [1, 4], [1, 4]])), note="repeated")
    yield OperatorCase("GatherND", (real(2, 5, 3), np.array([[1], [-2]])), note="rows")
    yield OperatorCase("GatherND", (real(2, 5), np.array([[[0, 0]], [[1, 4]]])), note="single-values")


def _scatters() -> Iterable[OperatorCase]:
    rows = np.array([[1], [3]])
    for wrt in ((0,), (2,), (0, 2)):
        yield OperatorCase("ScatterND", (real(4, 3), rows, real(2, 3)), wrt=wrt, note="rows", open_batch=False)
    places = np.array([[[0, 0], [1, 2]], [[3, 1], [-2, -1]]])
    yield OperatorCase("ScatterND", (real(4, 3), places, real(2, 2)), wrt=(0, 2), note="places", open_batch=False)
    yield OperatorCase("ScatterND", (real(2, 3, 2), np.array([[0, 1], [1, 0]]), real(2, 2)), wrt=(0, 2))
    columns = np.array([[1, 0, 2]])
    yield OperatorCase("ScatterElements", (real(4, 3), columns, real(1, 3)), wrt=(0, 2), open_batch=False)
    columns = np.array([[1, 3], [0, -1]])
    yield OperatorCase("ScatterElements", (real(2, 5), columns, real(2, 2)), {"axis": 1}, wrt=(0, 2))
    yield OperatorCase("ScatterElements", (real(2, 5), columns, real(2, 2)), {"axis": -1}, wrt=(2,))


FAR, NEVER = 2**63 - 1, -(2**63)


def _slice(shape: Sequence[int], *bounds: Sequence[int], note: str = "") -> OperatorCase:
    starts, ends, *rest = (axes(*bound) for bound in bounds)
    first = 0 not in (rest[0] if rest else range(len(starts))) or int(ends[0]) == FAR
    return OperatorCase("Slice", (ints(*shape), starts, ends, *rest), note=note, step=1.0, open_batch=first)


SLICE_CASES = (
    _slice((2, 5), (0, 1), (2, 4), note="no-axes"),
    _slice((2, 5, 6), (0, 2), (FAR, 5), (0, 2), note="whole-batch"),
    _slice((2, 5, 6), (0, 2), (FAR, FAR), (1, 2), note="all-of-one"),
    _slice((2, 5, 6), (1,), (3,), (1,), note="no-steps"),
    _slice((2, 5, 6), (1,), (3,), (1,), (1,)),
    _slice((2, 5, 6), (-3,), (-1,), (-2,), (1,), note="negative"),
    _slice((2, 5, 6), (1,), (FAR,), (1,), (2,), note="to-the-end"),
    _slice((2, 5, 6), (-3,), (100,), (1,), (2,), note="beyond"),
    _slice((2, 5, 6), (-100,), (3,), (1,), (1,), note="before"),
    _slice((2, 5, 6), (-1,), (NEVER,), (2,), (-1,), note="flip"),
    _slice((2, 5, 6), (-1,), (-100,), (2,), (-2,), note="backwards"),
    _slice((2, 5, 6), (100,), (1,), (2,), (-1,), note="backwards-from-beyond"),
    _slice((2, 5, 6), (-100,), (NEVER,), (1,), (-1,), note="backwards-from-before"),
    _slice((2, 5, 6), (4,), (-6,), (1,), (-3,), note="backwards-just-over"),
    _slice((2, 5, 6), (0, 1), (2, 4), (0, 2), (1, 2), note="two"),
    _slice((2, 5, 6), (5, 0), (1, 5), (-1, -2), (-2, 3), note="two"),
    OperatorCase(
        "Slice", (ints(2, 5), np.array([1], np.int32), np.array([4], np.int32), np.array([1], np.int32)), step=1.0
    ),
)


def _split(seeded: str, sizes: Sequence[int] | None, shape: Sequence[int], axis: int, count: int = 3) -> OperatorCase:
    outputs = ("y", "second", "third")[:count]
    attributes: dict[str, int] = {"axis": axis} if sizes else {"axis": axis, "num_outputs": count}
    inputs = (real(*shape), *((axes(*sizes),) if sizes else ()))
    return OperatorCase("Split", inputs, attributes, outputs=outputs, seeded=seeded, open_batch=axis != 0)


SPLIT_CASES = (
    *(_split(seeded, (2, 4, 1), (2, 7, 3), 1) for seeded in ("y", "second", "third")),
    *(_split(seeded, None, (2, 2, 7), -1) for seeded in ("y", "third")),
    _split("second", None, (4, 3), 0, count=2),
    _split("y", None, (2, 3, 4), 2, count=1),
    _split("second", (3, 1), (4, 3), 0, count=2),
)

INDEXING_CASES = (
    *_gathers(),
    *_scatters(),
    *SLICE_CASES,
    *SPLIT_CASES,
    *(
        OperatorCase("CumSum", (real(2, 5, 2), np.array(axis)), {"exclusive": exclusive, "reverse": reverse})
        for exclusive in (0, 1)
        for reverse in (0, 1)
        for axis in (1, -1)
    ),
    OperatorCase("CumSum", (real(3, 2), np.array(0)), open_batch=False),
    *(OperatorCase("Trilu", (real(2, 4, 5),), {"upper": upper}) for upper in (0, 1)),
    *(OperatorCase("Trilu", (real(2, 4, 4), np.array(k)), {"upper": k % 2}, note=f"k={k}") for k in (-2, -1, 1, 2)),
)
