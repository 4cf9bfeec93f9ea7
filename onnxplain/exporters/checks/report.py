"""The results of the checks: how well a written file agrees with its source."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

# The reference of a gradient: the module's own gradient; or finite differences of the witness (witness.py), in float64
# on onnx's reference evaluator if it can run it, else in float32 on ONNX Runtime.
Reference = Literal["torch.autograd", "float64 differences", "float32 differences"]


@dataclass(frozen=True)
class LayerCheck:
    """How one layer's gradient was checked.

    `relative_error` is ‖found − reference‖ / ‖reference‖ over random directions and targets. `reference` says what the
    gradient was compared with. `operators` lists the operators that were differentiated.
    """

    layer: str
    relative_error: float
    reference: Reference
    operators: tuple[str, ...]


@dataclass(frozen=True)
class Checks:
    """The results of all checks.

    `output_error` is the largest difference of the outputs from the original outputs, relative to the largest value.
    `tail_error` is the same for the outputs of the tail file on the file's features; None without a tail. `one_target`:
    layers whose gradients for several targets of one image at once are not those of a run per target. `float16_error`:
    how far the outputs in float16 are from those in float32, relative to the largest value; None where nothing was
    converted.
    """

    output_error: float
    layers: tuple[LayerCheck, ...]
    tail_error: float | None = None
    one_target: tuple[str, ...] = ()
    float16_error: float | None = None
