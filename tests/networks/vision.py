"""torchvision beside a torch that it was not built for.

There is no CPU wheel of torchvision for the torch that the tests pin. Its Python part works without its compiled one
once the two operators are declared that it gives shapes to on import; no network of the table uses them.
"""

from __future__ import annotations

import torch

_OPERATORS = torch.library.Library("torchvision", "DEF")
for _name in ("nms", "qnms"):
    _OPERATORS.define(f"{_name}(Tensor boxes, Tensor scores, float iou_threshold) -> Tensor")

# ruff: noqa: E402
import timm
from torchvision.models import (
    convnext,
    densenet,
    efficientnet,
    googlenet,
    inception,
    mobilenetv2,
    mobilenetv3,
    regnet,
    resnet,
    shufflenetv2,
    squeezenet,
    swin_transformer,
    vgg,
    vision_transformer,
)

__all__ = [
    "convnext",
    "densenet",
    "efficientnet",
    "googlenet",
    "inception",
    "mobilenetv2",
    "mobilenetv3",
    "regnet",
    "resnet",
    "shufflenetv2",
    "squeezenet",
    "swin_transformer",
    "timm",
    "vgg",
    "vision_transformer",
]
