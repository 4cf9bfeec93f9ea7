"""How well a written file agrees with what it was made from."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

# What a gradient is compared with: the module's own, or finite differences of the witness in float64 on onnx's
# reference evaluator, else in float32 on ONNX Runtime.
Reference = Literal["torch.autograd", "float64 differences", "float32 differences"]


@dataclass(frozen=True)
class LayerCheck:
    """How one layer's gradient was checked.

    `relative_error` is ‖found − reference‖ / ‖reference‖ over random directions and targets. `reference` is what it
    was compared with, `operators` are those that were differentiated.
    """

    layer: str
    relative_error: float
    reference: Reference
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
