"""The gates of a network, left as they are or replaced by smooth functions of the same shape.

A float32 gradient through many ReLUs is not stable elementwise: where an input is near zero, rounding decides whether
the gate is open. So it is with MaxPool, where two inputs are nearly equal: behind Softplus alone PyTorch's own float32
and float64 gradients still differ by 2e-2 at the first map of VGG-16. With smooth functions in the place of both,
gradients can be compared elementwise at any depth.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator

import pytest
import torch
from torch.nn import functional

Activation = Callable[..., torch.Tensor]
Size = int | tuple[int, int]


def _smooth_hardswish(x: torch.Tensor) -> torch.Tensor:
    return x * torch.sigmoid(x)


def _average(
    x: torch.Tensor,
    kernel_size: Size,
    stride: Size | None = None,
    padding: Size = 0,
    _dilation: Size = 1,
    ceil_mode: bool = False,
    return_indices: bool = False,
) -> torch.Tensor:
    """What max_pool2d takes, averaged."""
    return functional.avg_pool2d(x, kernel_size, stride, padding, ceil_mode, count_include_pad=False)


SMOOTH: dict[str, Activation] = {
    "relu": functional.softplus,
    "relu6": functional.softplus,
    "hardtanh": functional.softplus,
    "hardswish": _smooth_hardswish,
    "hardsigmoid": torch.sigmoid,
}


@contextlib.contextmanager
def activations(smooth: bool) -> Iterator[None]:
    """Run networks with their own gates, or with `SMOOTH` and averages for MaxPool; no ReLU overwrites its input.

    The modules (``torch.nn.ReLU`` …) call these functions too; ``torch.nn.ReLU6`` calls hardtanh.
    """
    replaced = SMOOTH if smooth else {"relu": functional.relu}
    with pytest.MonkeyPatch.context() as patch:
        for name, activation in replaced.items():
            patch.setattr(functional, name, _of_one_tensor(name, activation))
        if smooth:
            patch.setattr(functional, "max_pool2d", _average)
        yield


def _of_one_tensor(name: str, activation: Activation) -> Activation:
    """The activation under a name, without its options: bounds, and whether it overwrites its input."""

    def apply(x: torch.Tensor, *_bounds: object, **_options: object) -> torch.Tensor:
        return activation(x)

    apply.__name__ = name
    return apply
