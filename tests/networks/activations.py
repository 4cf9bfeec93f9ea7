"""The gates of a network, left as they are or replaced by smooth functions of the same shape.

A float32 gradient through many ReLUs is not stable elementwise: where an input is near zero, rounding decides whether
the gate is open. With Softplus in their place gradients can be compared elementwise at any depth.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator

import pytest
import torch
from torch.nn import functional

Activation = Callable[..., torch.Tensor]


def _smooth_hardswish(x: torch.Tensor) -> torch.Tensor:
    return x * torch.sigmoid(x)


SMOOTH: dict[str, Activation] = {
    "relu": functional.softplus,
    "relu6": functional.softplus,
    "hardtanh": functional.softplus,
    "hardswish": _smooth_hardswish,
    "hardsigmoid": torch.sigmoid,
}


@contextlib.contextmanager
def activations(smooth: bool) -> Iterator[None]:
    """Run networks with their own gates, or with `SMOOTH`; in neither case does a ReLU overwrite its input.

    The modules (``torch.nn.ReLU`` …) call these functions too; ``torch.nn.ReLU6`` calls hardtanh.
    """
    replaced = SMOOTH if smooth else {"relu": functional.relu}
    with pytest.MonkeyPatch.context() as patch:
        for name, activation in replaced.items():
            patch.setattr(functional, name, _of_one_tensor(name, activation))
        yield


def _of_one_tensor(name: str, activation: Activation) -> Activation:
    """The activation under a name, without its options: bounds, and whether it overwrites its input."""

    def apply(x: torch.Tensor, *_bounds: object, **_options: object) -> torch.Tensor:
        return activation(x)

    apply.__name__ = name
    return apply
