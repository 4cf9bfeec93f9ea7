"""The network that all libraries explain. A Python with torch alone can build it from its weights."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import torch
from torch import nn

SIDE = 24


class Network(nn.Module):
    """``features``, 12 maps of 12 × 12 cells, then ``head``, the logits of 3 classes; both nonlinear."""

    def __init__(self) -> None:
        super().__init__()
        self.features = nn.Sequential(
            nn.Conv2d(3, 8, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2), nn.Conv2d(8, 12, 3, padding=1), nn.ReLU()
        )
        self.head = nn.Sequential(nn.Flatten(), nn.Linear(12 * 12 * 12, 16), nn.Tanh(), nn.Linear(16, 3))

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        """Logits [N, 3] of images [N, 3, 24, 24]."""
        return self.head(self.features(image))


def as_given(network: nn.Module) -> dict[str, np.ndarray]:
    """The weights, named for `load`."""
    return {f"weights {name}": value.numpy() for name, value in network.state_dict().items()}


def load(given: Mapping[str, np.ndarray]) -> Network:
    """The network with these weights, in float64."""
    network = Network()
    prefix = "weights "
    weights = {name.removeprefix(prefix): given[name] for name in given if name.startswith(prefix)}
    network.load_state_dict({name: torch.from_numpy(value) for name, value in weights.items()})
    return network.double().eval()
