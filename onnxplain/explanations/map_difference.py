"""Whether a map that was made again is the recorded one."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from onnxplain.explanations.changed_surroundings import Difference

if TYPE_CHECKING:
    from onnxplain.runtime.arrays import AnyArray

LAST_DIGITS = 1e-5
"""A map that is nearer than this share of its largest value differs only in its last digits."""


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
