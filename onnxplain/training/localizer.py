"""The supervised localizer: one small convolutional network, a label head and a box head."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import nn

from onnxplain.errors import OnnxplainError


@dataclass(frozen=True)
class LocalizerConfig:
    """What makes one `Localizer` differ from another; checkpoints carry it.

    `widths`: channels of each stage; every stage halves the resolution. `box_channels`: feature maps that the box
    head keeps, at the resolution of the last stage. Raises OnnxplainError for sizes that the stages do not divide.
    """

    classes: int
    size_hw: tuple[int, int] = (64, 64)
    widths: tuple[int, ...] = (16, 48, 96)
    box_channels: int = 16

    def __post_init__(self) -> None:
        object.__setattr__(self, "size_hw", tuple(int(side) for side in self.size_hw))
        object.__setattr__(self, "widths", tuple(int(width) for width in self.widths))
        numbers = (self.classes, self.box_channels, *self.widths, *self.size_hw)
        if not self.widths or len(self.size_hw) != 2 or min(numbers) < 1:
            raise OnnxplainError(f"localizer: {self}: expected positive numbers and at least one stage")
        if any(side % self.stride for side in self.size_hw):
            raise OnnxplainError(
                f"localizer: found input size {self.size_hw[0]}x{self.size_hw[1]}, "
                f"expected multiples of {self.stride}: each of the {len(self.widths)} stages halves it"
            )

    @property
    def stride(self) -> int:
        """Pixels of the input per cell of the last feature map, along each axis."""
        return 1 << len(self.widths)


class Localizer(nn.Module):
    """Label and box of the one object in an image.

    `features` is the last spatial map. The label head is global average pooling + linear, so the class
    activation map is exact (Zhou et al. 2016, equation 2). The box head flattens its maps instead: where an object
    lies is just what pooling forgets.
    """

    def __init__(self, config: LocalizerConfig) -> None:
        super().__init__()
        self.config = config
        stages: list[nn.Module] = []
        channels = 3
        for width in config.widths:
            stages += [_convolution(channels, width, stride=2), _convolution(width, width)]
            channels = width
        cells = (config.size_hw[0] // config.stride) * (config.size_hw[1] // config.stride)
        self.features = nn.Sequential(*stages)
        self.classifier = nn.Linear(channels, config.classes)
        self.box = nn.Sequential(
            _convolution(channels, config.box_channels, kernel=1),
            nn.Flatten(),
            nn.Linear(cells * config.box_channels, 4),
        )

    def forward(self, images: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Images float32 (N, 3, H, W) → logits (N, C) and box (N, 4): cx, cy, w, h as shares of width and height."""
        features = self.features(images)
        return self.classifier(features.mean(dim=(2, 3))), self.box(features)


def _convolution(inputs: int, outputs: int, *, kernel: int = 3, stride: int = 1) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(inputs, outputs, kernel, stride=stride, padding=kernel // 2, bias=False),
        nn.BatchNorm2d(outputs),
        nn.ReLU(inplace=True),
    )
