"""Augmented Grad-CAM as it was published: every copy warped at every step, 200 steps of Adam (Morbidelli et al. 2020).

    Σ_l ‖D A_l h − g_l‖² + λ L (‖∂x h‖₁ + ‖∂y h‖₁) + μ L ‖h‖²

with λ = 0.002, μ = 0.0001 and a step of 0.001; h ≥ 0 is enforced at the end. Reimplemented in PyTorch.
"""

from __future__ import annotations

import numpy as np
import torch
from protocol import Method
from torch import Tensor
from torch.nn.functional import grid_sample, interpolate

STEPS, LEARNING_RATE = 200, 0.001
TOTAL_VARIATION, RIDGE = 0.002, 0.0001
BATCH = 8


class PublishedSolver(Method):
    """The heatmap from given Grad-CAMs."""

    def prepare(self) -> None:
        torch.set_num_threads(self.case["threads"])
        model = self.case["model"]
        self.size_hw = tuple(model["input_hw"])
        copies = self.case["options"]["copies"]
        self.maps = torch.from_numpy(np.load(model["copies_maps"])[:copies])
        self.grid = sampling_grid(np.load(model["copies_transforms"])[:copies], self.size_hw)

    def run(self) -> None:
        self.heatmap = descend(self.maps, self.grid, self.size_hw)

    def answer(self) -> np.ndarray:
        return self.heatmap.numpy()


class AugmentedGradCAM(PublishedSolver):
    """The whole method: copies of the image, the Grad-CAM of each by autograd, the heatmap."""

    def prepare(self) -> None:
        from torch_model import layer_of, load_model

        super().prepare()
        self.network = load_model(self.case["model"])
        self.layer = layer_of(self.network, self.case["model"])
        self.image = torch.from_numpy(np.load(self.case["input"])[:1])

    def run(self) -> None:
        copies = warp(self.image, self.grid)
        self.maps = torch.cat([self.grad_cam(part) for part in copies.split(BATCH)])
        self.evaluations = len(copies)
        super().run()

    def grad_cam(self, batch: Tensor) -> Tensor:
        kept: list[Tensor] = []
        handle = self.layer.register_forward_hook(lambda _module, _inputs, output: kept.append(output))
        logits = self.network(batch)
        handle.remove()
        (features,) = kept
        (gradients,) = torch.autograd.grad(logits[:, self.case["target"]].sum(), features)
        return torch.einsum("nk,nkhw->nhw", gradients.mean(dim=(2, 3)), features.detach())


def sampling_grid(transforms: np.ndarray, size_hw: tuple[int, int]) -> Tensor:
    """The position in the image of each pixel of each copy, for `grid_sample`: float32 (L, H, W, 2).

    `transforms`: float64 (L, 2, 3), from pixels of the copy to pixels of the image; pixel centres are at 0.5.
    """
    height, width = size_hw
    y, x = torch.meshgrid(torch.arange(height) + 0.5, torch.arange(width) + 0.5, indexing="ij")
    points = torch.stack([x, y, torch.ones_like(x)], dim=-1).double()
    at_xy = torch.einsum("lij,yxj->lyxi", torch.from_numpy(transforms), points)
    return (at_xy * 2 / torch.tensor([width, height]) - 1).float()


def warp(image: Tensor, grid: Tensor) -> Tensor:
    """The image (1, K, H, W) warped to each of the L copies, zero outside: (L, K, H, W)."""
    return grid_sample(image.expand(len(grid), -1, -1, -1), grid, mode="bilinear", align_corners=False)


def descend(maps: Tensor, grid: Tensor, size_hw: tuple[int, int]) -> Tensor:
    """h ≥ 0 (H, W) from signed maps (L, h, w), starting at zero; copies without positive values are left out."""
    maps = maps.clamp(min=0)
    highest = maps.amax(dim=(1, 2))
    used = highest > 0
    maps, grid = maps[used] / highest[used, None, None], grid[used]
    heatmap = torch.zeros(size_hw, requires_grad=True)
    optimiser = torch.optim.Adam([heatmap], lr=LEARNING_RATE)
    for _ in range(STEPS):
        optimiser.zero_grad()
        copies = warp(heatmap[None, None], grid)
        small = interpolate(copies, maps.shape[1:], mode="bilinear", align_corners=False)[:, 0]
        variation = heatmap.diff(dim=1).abs().sum() + heatmap.diff(dim=0).abs().sum()
        penalty = TOTAL_VARIATION * variation + RIDGE * (heatmap**2).sum()
        loss = ((small - maps) ** 2).sum() + len(maps) * penalty
        loss.backward()
        optimiser.step()
    return heatmap.detach().clamp(min=0)
