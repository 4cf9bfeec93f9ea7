"""Where two trees of plain data differ."""

from __future__ import annotations

from typing import Any


def first_difference(found: Any, recorded: Any, path: str = "") -> tuple[str, Any, Any] | None:
    """Where two trees differ first, with both values; None if they are equal. `path`: what stands before the place."""
    if isinstance(found, dict) and isinstance(recorded, dict):
        pairs = [(f" {key}", found.get(key), recorded.get(key)) for key in dict.fromkeys((*found, *recorded))]
    elif isinstance(found, list) and isinstance(recorded, list) and len(found) == len(recorded):
        pairs = [(f" {place}", *pair) for place, pair in enumerate(zip(found, recorded, strict=True))]
    else:
        return None if found == recorded else (path, found, recorded)
    each = (first_difference(ours, theirs, path + name) for name, ours, theirs in pairs)
    return next((difference for difference in each if difference is not None), None)
