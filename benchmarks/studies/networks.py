"""Randomly initialised networks to measure on: time does not depend on the weights."""

from __future__ import annotations

import torch
from torch import nn


class Bottleneck(nn.Module):
    """1 × 1, 3 × 3, 1 × 1 with a shortcut (He et al. 2016, figure 5; the stride on the 3 × 3)."""

    def __init__(self, channels_in: int, width: int, stride: int) -> None:
        super().__init__()
        channels_out = 4 * width
        self.body = nn.Sequential(
            *_conv(channels_in, width, 1),
            nn.ReLU(),
            *_conv(width, width, 3, stride),
            nn.ReLU(),
            *_conv(width, channels_out, 1),
        )
        same = stride == 1 and channels_in == channels_out
        self.shortcut = nn.Identity() if same else nn.Sequential(*_conv(channels_in, channels_out, 1, stride))
        self.relu = nn.ReLU()

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.relu(self.body(x) + self.shortcut(x))


class ResNet50(nn.Module):
    """ResNet-50 (He et al. 2016, table 1): 25.6 million parameters, 4.1 G multiply-adds at 224 × 224."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Sequential(*_conv(3, 64, 7, 2), nn.ReLU(), nn.MaxPool2d(3, 2, 1))
        channels = 64
        for index, (blocks, width) in enumerate(((3, 64), (4, 128), (6, 256), (3, 512)), start=1):
            stage = []
            for block in range(blocks):
                stage.append(Bottleneck(channels, width, 2 if block == 0 and index > 1 else 1))
                channels = 4 * width
            self.add_module(f"layer{index}", nn.Sequential(*stage))
        self.pool = nn.AdaptiveAvgPool2d(1)
        self.fc = nn.Linear(channels, 1000)

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        x = self.layer4(self.layer3(self.layer2(self.layer1(self.stem(image)))))
        return self.fc(self.pool(x).flatten(1))


def _conv(channels_in: int, channels_out: int, kernel: int, stride: int = 1) -> tuple[nn.Module, nn.Module]:
    conv = nn.Conv2d(channels_in, channels_out, kernel, stride, kernel // 2, bias=False)
    return conv, nn.BatchNorm2d(channels_out)


class InvertedResidual(nn.Module):
    """1 × 1 to `expansion` times the channels, 3 × 3 in each, 1 × 1 back (Sandler et al. 2018, table 1)."""

    def __init__(self, channels_in: int, channels_out: int, stride: int, expansion: int) -> None:
        super().__init__()
        width = expansion * channels_in
        wide = [*_conv(channels_in, width, 1), nn.ReLU6()] if expansion > 1 else []
        depthwise = nn.Conv2d(width, width, 3, stride, 1, groups=width, bias=False)
        self.body = nn.Sequential(*wide, depthwise, nn.BatchNorm2d(width), nn.ReLU6(), *_conv(width, channels_out, 1))
        self.adds = stride == 1 and channels_in == channels_out

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x + self.body(x) if self.adds else self.body(x)


class MobileNetV2(nn.Module):
    """MobileNetV2 (Sandler et al. 2018, table 2): 3.5 million parameters, 0.3 G multiply-adds at 224 × 224."""

    def __init__(self) -> None:
        super().__init__()
        layers, channels = [*_conv(3, 32, 3, 2), nn.ReLU6()], 32
        rows = (
            (1, 16, 1, 1),
            (6, 24, 2, 2),
            (6, 32, 3, 2),
            (6, 64, 4, 2),
            (6, 96, 3, 1),
            (6, 160, 3, 2),
            (6, 320, 1, 1),
        )
        for expansion, width, blocks, stride in rows:
            for block in range(blocks):
                layers.append(InvertedResidual(channels, width, stride if block == 0 else 1, expansion))
                channels = width
        self.features = nn.Sequential(*layers, *_conv(channels, 1280, 1), nn.ReLU6())
        self.head = nn.Linear(1280, 1000)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.head(self.features(x).mean((2, 3)))
