"""The subjects as PyTorch modules, and photos as their input, for every tool on PyTorch."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch

# There is no CPU wheel of torchvision for this torch. If its compiled part does not load, its Python part needs two
# operators to be declared: it registers their shapes on import. No subject uses them.
try:
    import torchvision
except RuntimeError:
    _OPERATORS = torch.library.Library("torchvision", "DEF")
    for _name in ("nms", "qnms"):
        _OPERATORS.define(f"{_name}(Tensor boxes, Tensor scores, float iou_threshold) -> Tensor")
    import torchvision


def build_model(architecture: str, classes: int = 1000) -> torch.nn.Module:
    """The network with random weights, in evaluation mode."""
    if architecture.startswith("vit_"):
        import timm

        return timm.create_model(architecture, num_classes=classes).eval()
    return torchvision.models.get_model(architecture, num_classes=classes).eval()


def load_model(model: dict[str, Any]) -> torch.nn.Module:
    """The subject's network with its weights, in evaluation mode."""
    network = build_model(model["architecture"], model["classes"])
    network.load_state_dict(torch.load(model["weights"], weights_only=True))
    return network


def layer_of(network: torch.nn.Module, model: dict[str, Any]) -> torch.nn.Module:
    """The module whose output the CAM family uses."""
    return network.get_submodule(model["torch_layer"])


def tokens_to_grid(tokens: torch.Tensor) -> torch.Tensor:
    """(N, 1 + h·w, K) with the class token first → (N, K, h, w), h = w; spatial maps pass unchanged."""
    if tokens.ndim == 4:
        return tokens
    side = round((tokens.shape[1] - 1) ** 0.5)
    return tokens[:, 1:].transpose(1, 2).unflatten(2, (side, side))


class TokenGrid(torch.nn.Module):
    """A layer of tokens whose patch tokens pass through `grid` as (N, K, h, w), for tools that need spatial maps."""

    def __init__(self, layer: torch.nn.Module) -> None:
        super().__init__()
        self.layer, self.grid = layer, torch.nn.Identity()

    def forward(self, tokens_before: torch.Tensor) -> torch.Tensor:
        tokens = self.layer(tokens_before)
        grid = self.grid(tokens_to_grid(tokens))
        return torch.cat([tokens[:, :1], grid.flatten(2).transpose(1, 2)], dim=1)


def preprocess_photos(photos_hwc: list[np.ndarray], model: dict[str, Any]) -> torch.Tensor:
    """uint8 (H, W, 3) each → float32 (N, 3, h, w), as in torchvision's own presets."""
    from torchvision.transforms import v2

    height, width = model["input_hw"]
    steps = v2.Compose(
        [
            v2.Resize(round(min(height, width) / 0.875), antialias=True),
            v2.CenterCrop((height, width)),
            v2.ToDtype(torch.float32, scale=True),
            v2.Normalize(model["mean"], model["std"]),
        ]
    )
    return torch.stack([steps(torch.from_numpy(photo).permute(2, 0, 1)) for photo in photos_hwc])
