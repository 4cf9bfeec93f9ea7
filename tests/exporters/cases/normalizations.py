"""Normalizations."""

from __future__ import annotations

from typing import Any

from tests.exporters.cases.values import real
from tests.exporters.graphs import OperatorCase


def _normalization(*shape: int, **attributes: Any) -> OperatorCase:
    channels = shape[1]
    statistics = (real(channels), real(channels), real(channels), real(channels, low=0.1, high=2.0))
    return OperatorCase("BatchNormalization", (real(*shape), *statistics), attributes)


NORMALIZATION_CASES = (
    _normalization(2, 3, 2, 4),
    _normalization(2, 3, 2, 4, epsilon=0.25),
    _normalization(3, 4),
    _normalization(2, 3, 5, momentum=0.5),
)

