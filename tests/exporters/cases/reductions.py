"""Reductions along axes and over whole maps."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping

import numpy as np

from tests.exporters.cases.values import axes, distinct, positive, real
from tests.exporters.graphs import OperatorCase

# Each with values at which it is smooth: no ties for extremes, no zeros for norms and logarithms.
REDUCTIONS: Mapping[str, Callable[..., np.ndarray]] = {
    "ReduceSum": real,
    "ReduceMean": real,
    "ReduceMax": distinct,
    "ReduceMin": distinct,
    "ReduceProd": real,
    "ReduceL1": real,
    "ReduceL2": real,
    "ReduceLogSum": positive,
    "ReduceLogSumExp": real,
    "ReduceSumSquare": real,
}


def _reductions(operator: str, values: Callable[..., np.ndarray]) -> Iterable[OperatorCase]:
    for keep in (0, 1):
        for reduced in ((2, 3), (-1, -2), (1,), (3, 1)):
            yield OperatorCase(operator, (values(2, 3, 2, 4), axes(*reduced)), {"keepdims": keep})
        yield OperatorCase(operator, (values(2, 3, 2),), {"keepdims": keep}, note="all", open_batch=False)
        yield OperatorCase(operator, (values(2, 3, 2), axes(0, 2)), {"keepdims": keep}, open_batch=False)
        yield OperatorCase(
            operator, (values(2, 3, 2), axes()), {"noop_with_empty_axes": 1, "keepdims": keep}, note="none"
        )
    yield OperatorCase(operator, (values(2, 3, 2), axes()), note="empty-means-all", open_batch=False)
    yield OperatorCase(operator, (values(2, 3, 2),), {"noop_with_empty_axes": 1}, note="none-given")
    if operator != "ReduceSum":
        # Float16 files stay below opset 18, where the axes are an attribute; ReduceSum's are an input since 13.
        yield OperatorCase(operator, (values(2, 3, 4),), {"axes": [1, -1], "keepdims": 0}, note="opset-17", opset=17)


REDUCING_CASES = (
    *(case for operator, values in REDUCTIONS.items() for case in _reductions(operator, values)),
    OperatorCase("ReduceSum", (real(2, 3), axes(0)), {"keepdims": 0}, note="over-the-batch"),
    OperatorCase("ReduceSum", (real(2, 3),), note="over-the-batch"),
    OperatorCase("ReduceProd", (np.array([[2.0, 0.0, 3.0], [1.0, 4.0, 0.5]]), axes(1)), note="one-zero"),
    *(
        OperatorCase(operator, (values(*shape),), note=f"{len(shape) - 2}-D")
        for operator, values in (("GlobalAveragePool", real), ("GlobalMaxPool", distinct))
        for shape in ((2, 3, 6), (2, 3, 4, 5), (2, 2, 2, 3, 2))
    ),
    *(OperatorCase("GlobalLpPool", (real(2, 3, 4, 5),), {"p": p}) for p in (1, 2, 3)),
    OperatorCase("GlobalLpPool", (real(2, 3, 6),), note="1-D"),
)
