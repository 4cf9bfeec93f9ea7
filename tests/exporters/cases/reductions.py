"""Reductions."""

from __future__ import annotations


from tests.exporters.cases.values import axes, real
from tests.exporters.graphs import OperatorCase


REDUCING_CASES = (
    OperatorCase("GlobalAveragePool", (real(2, 3, 4, 5),)),
    OperatorCase("GlobalAveragePool", (real(2, 3, 6),), note="1-D"),
    OperatorCase("GlobalAveragePool", (real(2, 2, 2, 3, 2),), note="3-D"),
    *(
        OperatorCase("ReduceMean", (real(2, 3, 2, 4), axes(*axes)), {"keepdims": keep})
        for keep in (0, 1)
        for axes in ((2, 3), (-1, -2), (1,), (3, 1))
    ),
    OperatorCase("ReduceMean", (real(2, 3, 2),), {"keepdims": 0}, note="all", open_batch=False),
    OperatorCase("ReduceMean", (real(2, 3, 2), axes(0, 2)), {"keepdims": 1}, open_batch=False),
    OperatorCase("ReduceMean", (real(2, 3, 2), axes()), {"noop_with_empty_axes": 1}, note="none"),
    OperatorCase("ReduceMean", (real(2, 3, 2),), {"noop_with_empty_axes": 1}, note="none-given"),
)


