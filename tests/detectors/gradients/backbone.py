"""The backbone of small detectors in PyTorch: what they export, and the scalars that their gradients are taken of.

Random weights. Each has three levels of strides 8, 16 and 32 behind a neck that mixes them, unless its family has
others. `scalars` gives what the file's numbering means: class logits (or log(objectness^p · class^q)) and corners in
pixels, by the formulas of the families.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

CLASSES = 3
SIZE_HW = (64, 96)
STRIDES = (8, 16, 32)
CHANNELS = 8
BINS = 8


@dataclass(frozen=True)
class Scalars:
    """`classes`: y of each class of each candidate, [M, C]; `corners`: x1, y1, x2, y2 in pixels, [M, 4]."""

    classes: Tensor
    corners: Tensor


class Detector(nn.Module, ABC):
    """Backbone and neck; subclasses add a head. `levels` are the maps before the head."""

    layout: str
    output_names: tuple[str, ...] = ("output0",)
    size_hw = SIZE_HW
    strides = STRIDES
    per_cell = 1
    # Inputs besides the image, as they are while the network is exported.
    other_inputs: Mapping[str, Tensor] = MappingProxyType({})
    # Of families whose images are not normalised.
    image_scale = 1.0

    def __init__(self) -> None:
        super().__init__()

        def block(inputs: int, stride: int) -> nn.Sequential:
            return nn.Sequential(nn.Conv2d(inputs, CHANNELS, 3, stride, 1), nn.SiLU())

        self.stem = nn.Sequential(block(3, 2), block(CHANNELS, 2), block(CHANNELS, 2))
        self.deeper = nn.ModuleList([block(CHANNELS, 2), block(CHANNELS, 2)])
        self.pool = nn.Sequential(nn.MaxPool2d(3, 1, 1), block(CHANNELS, 1))
        self.down = nn.ModuleList([block(2 * CHANNELS, 1) for _ in self.strides])

    def levels(self, image: Tensor) -> list[Tensor]:
        maps = [self.stem(image * self.image_scale)]
        for stage in self.deeper:
            maps.append(stage(maps[-1]))
        above = self.pool(maps[-1])
        found = []
        for own, mix in zip(reversed(maps), self.down, strict=True):
            above = functional.interpolate(above, own.shape[2:], mode="nearest")
            above = mix(torch.cat([own, above], 1))
            found.append(above)
        return found[::-1]

    def forward(self, image: Tensor) -> Any:
        return self.head(self.levels(image))

    @abstractmethod
    def head(self, levels: list[Tensor]) -> Any:
        """The outputs of the file."""

    @abstractmethod
    def scalars(self, levels: list[Tensor]) -> Scalars:
        """What is differentiated, per candidate."""

    def convolutions(self, columns: int) -> nn.ModuleList:
        return nn.ModuleList([nn.Conv2d(CHANNELS, columns * self.per_cell, 1) for _ in self.strides])

    def cells(self) -> tuple[Tensor, Tensor, Tensor]:
        """Column, row and stride of each candidate's cell, [M] each."""
        found = []
        for stride in self.strides:
            down, across = (-(-side // stride) for side in self.size_hw)
            rows, columns = torch.meshgrid(torch.arange(down), torch.arange(across), indexing="ij")
            each = torch.stack([columns.reshape(-1), rows.reshape(-1), torch.full((down * across,), stride)])
            found.append(each.repeat_interleave(self.per_cell, 1))
        column, row, stride = torch.cat(found, 1).to(self.stem[0][0].weight.dtype)
        return column, row, stride


def flat(maps: list[Tensor]) -> Tensor:
    """Maps of cells as [N, M, columns]."""
    return torch.cat([each.flatten(2) for each in maps], 2).transpose(1, 2)


def around(centre: Tensor, size: Tensor) -> Tensor:
    return torch.cat([centre - size / 2, centre + size / 2], -1)
