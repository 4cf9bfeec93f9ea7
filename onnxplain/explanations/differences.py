"""What differs between a run and its record: two trees of plain data, two maps."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    from onnxplain.runtime.arrays import AnyArray

LAST_DIGITS = 1e-5
"""A map that is nearer than this share of its largest value differs only in its last digits."""

DifferenceKind = Literal["model", "version", "image", "answer", "map", "digits", "missing", "option"]


@dataclass(frozen=True)
class Difference:
    """Something that is not as it was. `subject`: the file or the map; `found`, `recorded`: in a few words."""

    kind: DifferenceKind
    subject: str
    found: str
    recorded: str

    @property
    def is_real(self) -> bool:
        """Whether it is more than the last digits of a map whose batch size was found by timing."""
        return self.kind != "digits"

    def __str__(self) -> str:
        return f"{self.subject}: found {self.found}, recorded {self.recorded}"


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


def map_difference(name: str, found: AnyArray, recorded: AnyArray, question: Mapping[str, Any]) -> Difference | None:
    """The difference of two maps; None if they are the same, bit for bit.

    `question`: with the method and the options that were given. Without a batch size, methods that score copies find
    the fastest by timing; kernels of another batch may add in another order. The last digits of such a map are of a
    kind of their own, `digits`.
    """
    import numpy as np

    if np.array_equal(found, recorded, equal_nan=True):
        return None
    if found.shape != recorded.shape:
        return Difference("map", name, f"a map of {found.shape}", f"one of {recorded.shape}")
    scale = float(np.abs(recorded).max()) or 1.0
    share = float(np.abs(found - recorded).max()) / scale
    away = f"values up to {share:.1e} of the largest away"
    if share <= LAST_DIGITS and _is_timed(question):
        advice = "the batch size is found by timing: explain with --batch-size for the same bits"
        return Difference("digits", name, f"{away} ({advice})", "the same map")
    return Difference("map", name, away, "the same map")


def _is_timed(question: Mapping[str, Any]) -> bool:
    """Whether the batch size of the method's copies was left to timing."""
    from onnxplain.explainers.registry import find_method

    takes = "batch_size" in find_method(question["method"]).options
    return takes and question["options"].get("batch_size") is None
