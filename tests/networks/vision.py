"""torchvision beside a torch that it was not built for.

Where its compiled part does not fit (there is no CPU wheel for the torch that the tests pin) its Python part works
once the two operators are declared that it gives shapes to on import; no network of the table uses them.
"""

from __future__ import annotations

import torch

try:
    import torchvision
except RuntimeError:
    _OPERATORS = torch.library.Library("torchvision", "DEF")
    for _name in ("nms", "qnms"):
        _OPERATORS.define(f"{_name}(Tensor boxes, Tensor scores, float iou_threshold) -> Tensor")
    import torchvision

import timm
import transformers
from torchvision.models import (
    convnext,
    densenet,
    efficientnet,
    get_model,
    mobilenetv2,
    mobilenetv3,
    regnet,
    resnet,
    shufflenetv2,
    swin_transformer,
    vgg,
    vision_transformer,
)

__all__ = [
    "convnext",
    "densenet",
    "efficientnet",
    "get_model",
    "mobilenetv2",
    "mobilenetv3",
    "regnet",
    "resnet",
    "shufflenetv2",
    "swin_transformer",
    "timm",
    "torchvision",
    "transformers",
    "vgg",
    "vision_transformer",
]
