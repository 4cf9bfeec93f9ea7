"""The architectures that are exported in every way: those of the table, more of timm, and of transformers; small."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import torch
from torch import nn

from tests.networks.hugging_face import HUGGING_FACE
from tests.networks.table import CLASSES, SHALLOW, Network, timm_network


class _Bottleneck(nn.Module):
    def __init__(self, channels: int) -> None:
        super().__init__()
        self.first, self.second = (nn.Conv2d(channels, channels, 3, 1, 1) for _ in range(2))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x + nn.functional.silu(self.second(nn.functional.silu(self.first(x))))


class _C2f(nn.Module):
    """YOLO's block: a convolution, cut in two by chunk; bottlenecks on the second half; all of it side by side."""

    def __init__(self, channels: int, blocks: int) -> None:
        super().__init__()
        self.enter = nn.Conv2d(channels, channels, 1)
        self.blocks = nn.ModuleList(_Bottleneck(channels // 2) for _ in range(blocks))
        self.leave = nn.Conv2d(channels // 2 * (2 + blocks), channels, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        parts = list(nn.functional.silu(self.enter(x)).chunk(2, 1))
        for block in self.blocks:
            parts.append(block(parts[-1]))
        return nn.functional.silu(self.leave(torch.cat(parts, 1)))


class _YoloClassifier(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 16, 3, 2, 1)
        self.one, self.down, self.two = _C2f(16, 1), nn.Conv2d(16, 32, 3, 2, 1), _C2f(32, 2)
        self.head = nn.Linear(32, CLASSES)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.two(nn.functional.silu(self.down(self.one(nn.functional.silu(self.stem(x))))))
        return self.head(x.mean((2, 3)))


def _with_moved_norms(make: Callable[[], nn.Module]) -> Callable[[], nn.Module]:
    """No two layer normalizations alike, and none zero, so that each map is known by its values."""

    def build() -> nn.Module:
        network = make()
        for part in network.modules():
            if isinstance(part, nn.LayerNorm):
                nn.init.uniform_(part.weight, 0.5, 1.5)
        return network

    return build


MORE = (
    Network("YOLO's C2f", _YoloClassifier, "two", gated=False),
    Network("ViT of timm", timm_network("vit_tiny_patch16_224", img_size=64, depth=3), "", gated=False),
    Network(
        "ViT with registers", timm_network("vit_small_patch16_224", img_size=64, depth=2, reg_tokens=4), "", gated=False
    ),
    Network(
        "DeiT of timm", timm_network("deit_tiny_patch16_224", img_size=(48, 80), depth=3), "", (48, 80), gated=False
    ),
    Network(
        "BEiT", timm_network("beit_base_patch16_224", img_size=64, depth=2, embed_dim=96, num_heads=3), "", gated=False
    ),
    Network("CaiT", _with_moved_norms(timm_network("cait_xxs24_224", img_size=64, depth=2)), "", gated=False),
    Network("MLP-Mixer", timm_network("mixer_s32_224", img_size=64), "", gated=False),
    Network("PoolFormer", timm_network("poolformer_s12"), "", gated=False),
    Network("RepVGG", timm_network("repvgg_a0"), ""),
    Network("GhostNet", timm_network("ghostnet_050"), ""),
    Network("ConvNeXt of timm", timm_network("convnext_atto", depths=(1, 1, 1, 1)), "", gated=False),
    Network("EdgeNeXt", timm_network("edgenext_xx_small", depths=(1, 1, 1, 2)), "", gated=False),
    Network("MobileViT", timm_network("mobilevit_xxs"), "", gated=False),
    Network("LeViT", timm_network("levit_128s", img_size=64), ""),
    Network(
        "SwinV2",
        _with_moved_norms(
            timm_network(
                "swinv2_tiny_window8_256", img_size=64, window_size=4, depths=(2, 1), num_heads=(2, 4), embed_dim=24
            )
        ),
        "",
        gated=False,
    ),
)
# TorchScript files of adaptive pooling need a size that its output divides.
ARCHITECTURES = (
    *(replace(row, size_hw=(56, 56)) if row.name == "vgg" else row for row in SHALLOW),
    *MORE,
    *HUGGING_FACE,
)
