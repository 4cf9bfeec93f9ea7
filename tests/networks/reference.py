"""Gradients of a torch module with respect to a map that is known by its values."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.overrides import TorchFunctionMode

SAME_MAP = 1e-4


def autograd(
    network: nn.Module, batch: np.ndarray, targets: np.ndarray, maps: Sequence[np.ndarray]
) -> list[tuple[list[str], np.ndarray]]:
    """For each of the `maps` what gives it out, and d target / d map, [N, K, h, w].

    The network computes in float64. Inside it a map may have its channels last, or be tokens behind others. What
    gives it out are functions (``relu``, ``cat``) and parts (``layer4.2``), the innermost first.
    """
    with _Recorder(network) as recorder:
        logits = network(torch.tensor(batch, dtype=torch.float64, requires_grad=True))
    names, tensors = [], []
    for features in maps:
        found = [(name, tensor) for name, tensor in recorder.outputs if _is_map(tensor, features)]
        assert found, f"the network computes no map of shape {features.shape} with these values"
        names.append([name for name, _ in found])
        tensors.append(found[0][1])
    scalar = logits.gather(1, torch.tensor(targets)[:, None]).sum()
    gradients = [as_map(g.numpy(), f.shape) for g, f in zip(torch.autograd.grad(scalar, tensors), maps, strict=True)]
    return [(name, gradient) for name, gradient in zip(names, gradients, strict=True) if gradient is not None]


class _Recorder(TorchFunctionMode):
    """Keeps the outputs of all functions and of all parts of the network while it runs."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.outputs: list[tuple[str, torch.Tensor]] = []
        self._network = network

    def __enter__(self) -> _Recorder:
        self._handles = [
            part.register_forward_hook(lambda _part, _given, output, name=name: self._keep(name, output))
            for name, part in self._network.named_modules()
            if name
        ]
        return super().__enter__()

    def __exit__(self, *error: object) -> None:
        for handle in self._handles:
            handle.remove()
        super().__exit__(*error)

    def __torch_function__(self, function: Callable[..., Any], types: Any, args: Any = (), kwargs: Any = None) -> Any:
        output = function(*args, **(kwargs or {}))
        self._keep(getattr(function, "__name__", ""), output)
        # What follows may overwrite the output (``out += identity``): it gets a copy, but for views and operands.
        is_new = isinstance(output, torch.Tensor) and not output._is_view() and all(output is not a for a in args)
        return output.clone() if is_new else output

    def _keep(self, name: str, output: object) -> None:
        if isinstance(output, torch.Tensor) and output.is_floating_point() and output.requires_grad:
            self.outputs.append((name, output))


def _is_map(tensor: torch.Tensor, features: np.ndarray) -> bool:
    found = as_map(tensor.detach().numpy(), features.shape)
    return found is not None and relative_error(features, found) < SAME_MAP


def as_map(array: np.ndarray, shape: tuple[int, ...]) -> np.ndarray | None:
    """The array as [N, K, h, w] of the given shape: as it is, from channels last, or from its last h · w tokens."""
    count, channels, height, width = shape
    if array.shape == shape:
        return array
    if array.shape == (count, height, width, channels):
        return array.transpose(0, 3, 1, 2)
    if array.ndim == 3 and array.shape[1] >= height * width and array.shape[2] == channels:
        return array[:, -height * width :].transpose(0, 2, 1).reshape(shape)
    return None


def relative_error(found: np.ndarray, reference: np.ndarray) -> float:
    """‖found − reference‖ / ‖reference‖."""
    assert found.shape == reference.shape
    return float(np.linalg.norm(found - reference) / np.linalg.norm(reference))


def cosine(found: np.ndarray, reference: np.ndarray) -> float:
    """⟨found, reference⟩ / ‖found‖ ‖reference‖."""
    assert found.shape == reference.shape
    return float((found * reference).sum() / (np.linalg.norm(found) * np.linalg.norm(reference)))
