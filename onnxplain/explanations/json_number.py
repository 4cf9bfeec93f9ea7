"""Convert numbers to values that JSON can hold."""

from __future__ import annotations

import math


def json_number(value: float) -> float | None:
    """The number, or None (null) for NaN and infinity, which JSON does not have."""
    return value if math.isfinite(value) else None
