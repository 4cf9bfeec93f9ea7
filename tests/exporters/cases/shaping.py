"""Operators that move values and compute nothing."""

from __future__ import annotations

from tests.exporters.cases.values import axes, real
from tests.exporters.graphs import OperatorCase

SHAPING_CASES = (
    OperatorCase("Reshape", (real(2, 6, 2), axes(0, -1))),
    OperatorCase("Reshape", (real(2, 6, 2), axes(-1, 3, 4))),
    OperatorCase("Reshape", (real(2, 6), axes(4, 3)), open_batch=False),
    OperatorCase("Reshape", (real(2, 3), axes(0, 3, 1, 1))),
    OperatorCase("Reshape", (real(2, 3, 4), axes(-1)), note="flat"),
    OperatorCase("Flatten", (real(2, 3, 4),)),
    *(OperatorCase("Flatten", (real(2, 3, 4),), {"axis": axis}) for axis in (0, 2, -1, 3)),
    OperatorCase("Squeeze", (real(2, 3, 1, 1), axes(2, 3))),
    OperatorCase("Squeeze", (real(2, 1, 3, 1), axes(-3))),
    OperatorCase("Squeeze", (real(2, 1, 3),), note="all", open_batch=False),
    OperatorCase("Unsqueeze", (real(2, 3), axes(2, 3))),
    OperatorCase("Unsqueeze", (real(2, 3), axes(-1, 0))),
    OperatorCase("Transpose", (real(2, 3, 4),)),
    OperatorCase("Transpose", (real(2, 3, 4),), {"perm": [0, 2, 1]}),
    OperatorCase("Transpose", (real(2, 3, 2, 4),), {"perm": [0, 3, 1, 2]}),
    OperatorCase("Transpose", (real(2, 3, 2, 4),), {"perm": [3, 0, 2, 1]}),
    OperatorCase("Concat", (real(2, 3, 2), real(2, 1, 2), real(2, 2, 2)), {"axis": 1}, wrt=(0, 1, 2)),
    OperatorCase("Concat", (real(2, 3, 2), real(2, 3, 3)), {"axis": -1}, wrt=(0, 1)),
    OperatorCase("Concat", (real(2, 3, 2), real(2, 1, 2)), {"axis": -2}, wrt=(1,), open_batch=False),
    OperatorCase("Concat", (real(2, 3), real(1, 3)), {"axis": 0}, wrt=(0, 1), open_batch=False),
    OperatorCase("Tile", (real(2, 3, 4), axes(1, 1, 3))),
    OperatorCase("Tile", (real(2, 3, 4), axes(1, 2, 3))),
    OperatorCase("Tile", (real(2, 3), axes(3, 1)), note="batch"),
    OperatorCase("Tile", (real(2, 1, 2), axes(2, 4, 1)), note="batch"),
    OperatorCase("Tile", (real(2, 3), axes(1, 1)), note="once"),
    OperatorCase("Expand", (real(2, 1), axes(1, 4))),
    OperatorCase("Expand", (real(2, 1, 3), axes(1, 4, 1)), note="both-ways"),
    OperatorCase("Expand", (real(3, 1), axes(2, 3, 4)), note="more-axes", open_batch=False),
    OperatorCase("Expand", (real(), axes(2, 3)), note="scalar"),
    OperatorCase("Expand", (real(1, 3), axes(4, 3)), note="the-first"),
    OperatorCase("Expand", (real(2, 3), axes(3)), note="fewer-axes"),
    *(OperatorCase("DepthToSpace", (real(2, 8, 3, 2),), {"blocksize": 2, "mode": mode}) for mode in ("DCR", "CRD")),
    *(OperatorCase("DepthToSpace", (real(1, 9, 2, 1),), {"blocksize": 3, "mode": mode}) for mode in ("DCR", "CRD")),
    OperatorCase("DepthToSpace", (real(2, 8, 3, 2),), {"blocksize": 2}, note="default-mode"),
    OperatorCase("SpaceToDepth", (real(2, 3, 4, 6),), {"blocksize": 2}),
    OperatorCase("SpaceToDepth", (real(1, 2, 3, 6),), {"blocksize": 3}),
)
