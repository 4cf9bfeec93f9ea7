"""How well a written file agrees with what it was made from."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class LayerCheck:
    """How one layer's gradient was checked.

    `relative_error` is ‖found − reference‖ / ‖reference‖ over random directions and targets. `reference` says
    what it was compared with, `operators` what was differentiated.
    """

    layer: str
    relative_error: float
    reference: str
    operators: tuple[str, ...]


@dataclass(frozen=True)
class Checks:
    """All that was verified.

    `output_error` is the largest difference relative to the largest value, `tail_error` the same of what the tail file
    gives for the file's features; None without a tail.
    """

    output_error: float
    layers: tuple[LayerCheck, ...]
    tail_error: float | None = None
