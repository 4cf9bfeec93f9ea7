"""Captum: LayerGradCam, its maps signed."""

from __future__ import annotations

from typing import Any

import numpy as np
from torch_grad_cam import TorchGradCAM, over_photos
from worker import serve


class GradCAM(TorchGradCAM):
    """LayerGradCam sums over the second axis and means over those behind it, so a layer of tokens is shown as a grid."""

    def build(self) -> None:
        from captum.attr import LayerGradCam

        if self.case["model"]["architecture"].startswith("vit_"):
            self.layer = show_grid(self.model, self.case["model"]["torch_layer"])
        self.grad_cam = LayerGradCam(self.model, self.layer)

    def explain(self, batch: Any) -> np.ndarray:
        maps = self.grad_cam.attribute(batch, target=self.case["target"])
        return maps[:, 0].detach().numpy()


def show_grid(model: Any, path: str) -> Any:
    """Let the patch tokens of a layer pass through a module as (N, K, h, w); returns that module."""
    import torch
    from torch_model import tokens_to_grid

    class Grid(torch.nn.Module):
        def __init__(self, layer: torch.nn.Module) -> None:
            super().__init__()
            self.layer, self.grid = layer, torch.nn.Identity()

        def forward(self, tokens: torch.Tensor) -> torch.Tensor:
            tokens = self.layer(tokens)
            grid = self.grid(tokens_to_grid(tokens))
            return torch.cat([tokens[:, :1], grid.flatten(2).transpose(1, 2)], dim=1)

    shown = Grid(model.get_submodule(path))
    model.set_submodule(path, shown)
    return shown.grid


serve("captum", packages=("torch", "captum"), methods={"grad-cam": GradCAM, "throughput": over_photos(GradCAM)})
