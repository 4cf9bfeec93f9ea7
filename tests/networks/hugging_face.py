"""Image classifiers of Hugging Face transformers, small, from their configurations; no weights are loaded."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import nn

from tests.networks.table import CLASSES, Network

# Four stages of one block each.
_STAGES: dict[str, Any] = {"depths": [1, 1, 1, 1], "hidden_sizes": [16, 32, 48, 64]}
_TOKENS: dict[str, Any] = {"hidden_size": 48, "num_attention_heads": 3, "image_size": 64, "patch_size": 8}


class _Logits(nn.Module):
    """The model's logits alone."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, pixel_values: torch.Tensor) -> torch.Tensor:
        logits: torch.Tensor = self.model(pixel_values).logits
        return logits


def _classifier(name: str, **options: Any) -> Callable[[], nn.Module]:
    """`name` of a model of transformers; imported when it is built."""

    def make() -> nn.Module:
        # `vision` makes torchvision importable, which transformers looks for.
        from tests.networks.vision import transformers

        config = getattr(transformers, f"{name}Config")(num_labels=CLASSES, **options)
        return _Logits(getattr(transformers, f"{name}ForImageClassification")(config))

    return make


HUGGING_FACE = (
    Network(
        "ViT of transformers", _classifier("ViT", num_hidden_layers=3, intermediate_size=96, **_TOKENS), "", gated=False
    ),
    Network("DINOv2", _classifier("Dinov2", num_hidden_layers=2, mlp_ratio=2, **_TOKENS), "", gated=False),
    Network(
        "Swin of transformers",
        _classifier("Swin", embed_dim=24, depths=[2, 1], num_heads=[2, 4], window_size=4, image_size=64),
        "",
        gated=False,
    ),
    Network("ConvNeXt of transformers", _classifier("ConvNext", **_STAGES), "", gated=False),
    Network(
        "MobileViT of transformers",
        _classifier(
            "MobileViT", image_size=64, hidden_sizes=[24, 36, 48], neck_hidden_sizes=[8, 16, 24, 32, 40, 48, 64]
        ),
        "",
        gated=False,
    ),
    Network("SegFormer", _classifier("Segformer", depths=[1, 1, 1, 1], hidden_sizes=[16, 32, 40, 64]), "", gated=False),
    Network("ResNet of transformers", _classifier("ResNet", embedding_size=16, **_STAGES), ""),
    Network("MobileNetV2 of transformers", _classifier("MobileNetV2", depth_multiplier=0.35), ""),
)
