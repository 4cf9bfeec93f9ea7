"""Normalizations: by stored statistics, by those of the value itself, by its neighbours."""

from __future__ import annotations

from typing import Any

from tests.exporters.cases.values import positive, real
from tests.exporters.graphs import OperatorCase


def _batch(*shape: int, **attributes: Any) -> OperatorCase:
    channels = shape[1]
    statistics = (real(channels), real(channels), real(channels), real(channels, low=0.1, high=2.0))
    return OperatorCase("BatchNormalization", (real(*shape), *statistics), attributes)


def _layer(shape: tuple[int, ...], scale: tuple[int, ...], bias: bool = True, **attributes: Any) -> OperatorCase:
    inputs = (real(*shape), real(*scale), *((real(*scale),) if bias else ()))
    return OperatorCase("LayerNormalization", inputs, attributes, note="" if bias else "no-bias")


def _channels(operator: str, shape: tuple[int, ...], opset: int = 18, **attributes: Any) -> OperatorCase:
    return OperatorCase(operator, (real(*shape), real(shape[1]), real(shape[1])), attributes, opset=opset)


NORMALIZATION_CASES = (
    _batch(2, 3, 2, 4),
    _batch(2, 3, 2, 4, epsilon=0.25),
    _batch(3, 4),
    _batch(2, 3, 5, momentum=0.5),
    _layer((2, 3, 8), (8,)),
    _layer((2, 3, 8), (8,), bias=False),
    _layer((2, 3, 8), (8,), axis=-1, epsilon=0.25),
    _layer((2, 3, 4), (3, 4), axis=1),
    _layer((2, 3, 4), (4,), axis=1),
    _layer((2, 2, 3, 4), (2, 3, 4), axis=-3),
    _layer((3, 4), (4,)),
    OperatorCase(
        "LayerNormalization",
        (real(2, 3, 8), real(8), real(8)),
        outputs=("y", "mean", "inverse"),
        note="statistics-unread",
    ),
    *(
        OperatorCase("RMSNormalization", (real(*shape), real(*scale)), attributes, opset=23)
        for shape, scale, attributes in (
            ((2, 3, 8), (8,), {}),
            ((2, 3, 8), (8,), {"epsilon": 0.5}),
            ((2, 3, 4), (3, 4), {"axis": 1}),
            ((2, 3, 4), (4,), {"axis": -2}),
        )
    ),
    _channels("InstanceNormalization", (2, 3, 4, 5)),
    _channels("InstanceNormalization", (2, 3, 6), epsilon=0.25),
    _channels("InstanceNormalization", (1, 2, 2, 3, 2)),
    _channels("GroupNormalization", (2, 4, 3, 3), 21, num_groups=2),
    _channels("GroupNormalization", (2, 4, 3, 3), 21, num_groups=1),
    _channels("GroupNormalization", (2, 4, 3, 2), 21, num_groups=4, epsilon=0.25),
    _channels("GroupNormalization", (2, 6, 5), 21, num_groups=3),
    _channels("GroupNormalization", (1, 4, 2, 3, 2), 21, num_groups=2),
    *(OperatorCase("LpNormalization", (real(2, 3, 4),), {"p": p, "axis": axis}) for p in (1, 2) for axis in (1, 2, -1)),
    OperatorCase("LpNormalization", (real(2, 5),), note="default"),
    OperatorCase("LpNormalization", (real(3, 2),), {"axis": 0}, open_batch=False),
    *(
        OperatorCase("LRN", (real(2, 7, 2, 3),), {"size": size, "alpha": 0.5, "beta": 0.75, "bias": 1.0})
        for size in (1, 3, 5, 9)
    ),
    OperatorCase("LRN", (real(2, 4, 2, 2),), {"size": 3, "alpha": 2.0, "beta": 0.5, "bias": 0.5}),
    OperatorCase("LRN", (positive(2, 4, 2, 2),), {"size": 5}, note="default"),
)
