"""Small PyTorch networks, seeded and in evaluation mode, and their gradients by torch.autograd."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import torch
from torch import nn
from torch.nn import functional


class Block(nn.Module):
    """A basic residual block; where the shape changes, the shortcut is a strided 1 × 1 convolution."""

    def __init__(self, maps_in: int, maps_out: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(maps_in, maps_out, 3, stride, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(maps_out)
        self.conv2 = nn.Conv2d(maps_out, maps_out, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(maps_out)
        self.shortcut: nn.Module = nn.Identity()
        if stride != 1 or maps_in != maps_out:
            self.shortcut = nn.Sequential(nn.Conv2d(maps_in, maps_out, 1, stride, bias=False), nn.BatchNorm2d(maps_out))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = torch.relu(self.bn1(self.conv1(x)))
        return torch.relu(self.bn2(self.conv2(y)) + self.shortcut(x))


class ResidualNet(nn.Module):
    """Stem, pool, three residual stages, global average pooling, linear: 32 × 32 pixels, 5 classes.

    With `boxes` it returns (logits, box), the box from a small head of its own on the last maps.
    """

    input_size_hw = (32, 32)
    classes = 5

    def __init__(self, boxes: bool = False) -> None:
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(3, 8, 3, padding=1, bias=False), nn.BatchNorm2d(8), nn.ReLU())
        self.pool = nn.MaxPool2d(3, 2, padding=1)
        self.stage1 = Block(8, 8, 1)
        self.stage2 = Block(8, 16, 2)
        self.stage3 = Block(16, 16, 2)
        self.classifier = nn.Linear(16, self.classes)
        self.box = nn.Sequential(nn.Flatten(), nn.Linear(16 * 16, 8), nn.ReLU(), nn.Linear(8, 4)) if boxes else None

    def forward(self, image: torch.Tensor) -> torch.Tensor | tuple[torch.Tensor, torch.Tensor]:
        maps = self.stage3(self.stage2(self.stage1(self.pool(self.stem(image)))))
        logits = self.classifier(maps.mean((2, 3)))
        return logits if self.box is None else (logits, torch.sigmoid(self.box(maps)))


class OptionABlock(nn.Module):
    """He et al. 2016, section 4.2: the shortcut drops every second position and pads the channels with zeros."""

    def __init__(self, maps_in: int, maps_out: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(maps_in, maps_out, 3, stride, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(maps_out)
        self.conv2 = nn.Conv2d(maps_out, maps_out, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(maps_out)
        self.added = maps_out - maps_in

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = self.bn2(self.conv2(torch.relu(self.bn1(self.conv1(x)))))
        if self.added:
            x = functional.pad(x[:, :, ::2, ::2], (0, 0, 0, 0, self.added // 2, self.added // 2))
        return torch.relu(y + x)


class ResNet20(nn.Module):
    """The CIFAR-10 ResNet-20 of He et al. 2016."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(3, 16, 3, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(16)
        widths = (16, 16, 32, 64)
        for stage in (1, 2, 3):
            first = OptionABlock(widths[stage - 1], widths[stage], 1 if stage == 1 else 2)
            others = [OptionABlock(widths[stage], widths[stage], 1) for _ in range(2)]
            setattr(self, f"layer{stage}", nn.Sequential(first, *others))
        self.linear = nn.Linear(64, 10)

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        maps = torch.relu(self.bn1(self.conv1(image)))
        maps = self.layer3(self.layer2(self.layer1(maps)))
        return self.linear(maps.mean((2, 3)))


def residual_net(*, boxes: bool = False, seed: int = 0) -> ResidualNet:
    """A network with random weights and statistics: batch normalization is no identity."""
    torch.manual_seed(seed)
    network = ResidualNet(boxes)
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            nn.init.uniform_(module.running_mean, -0.5, 0.5)
            nn.init.uniform_(module.running_var, 0.3, 2.0)
            nn.init.uniform_(module.weight, 0.5, 1.5)
            nn.init.uniform_(module.bias, -0.5, 0.5)
    return network.eval()


def tiny_net() -> nn.Module:
    """The smallest network with a map, a state and a head: 8 × 8 pixels, 3 classes."""
    torch.manual_seed(0)
    layers = (nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 3))
    return nn.Sequential(*layers).eval()


def load_resnet20(checkpoint: Path) -> ResNet20:
    """The trained network; its checkpoint was saved from a DataParallel wrapper."""
    network = ResNet20()
    state = torch.load(checkpoint, weights_only=True, map_location="cpu")["state_dict"]
    network.load_state_dict({name.removeprefix("module."): tensor for name, tensor in state.items()})
    return network.eval()


def images(count: int, size_hw: tuple[int, int], seed: int = 2) -> np.ndarray:
    """Smooth random images, float32 (N, 3, H, W), about zero mean and unit deviation."""
    rng = np.random.default_rng(seed)
    coarse = torch.tensor(rng.normal(size=(count, 3, *(math.ceil(size / 4) for size in size_hw))))
    smooth = functional.interpolate(coarse, size=size_hw, mode="bilinear").numpy()
    return (smooth + rng.normal(0, 0.2, smooth.shape)).astype(np.float32)


def autograd(
    network: nn.Module, layer: str, batch: np.ndarray, targets: np.ndarray, *, double: bool = False
) -> tuple[np.ndarray, np.ndarray]:
    """Features of the part named `layer`, and d target / d features; targets count logits, then box coordinates."""
    kept: list[torch.Tensor] = []
    handle = dict(network.named_modules())[layer].register_forward_hook(lambda _m, _i, output: kept.append(output))
    network = network.double() if double else network
    try:
        image = torch.tensor(batch, dtype=torch.float64 if double else torch.float32, requires_grad=True)
        outputs = network(image)
        columns = torch.cat(outputs, 1) if isinstance(outputs, tuple) else outputs
        scalar = columns.gather(1, torch.tensor(targets)[:, None]).sum()
        (gradient,) = torch.autograd.grad(scalar, kept[0])
        return kept[0].detach().numpy(), gradient.numpy()
    finally:
        handle.remove()
        network.float()
