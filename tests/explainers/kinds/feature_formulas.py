"""The methods that look at a layer's features alone, as formulas in torch: (N, K, h, w) → (N, h, w), float64."""

from __future__ import annotations

from collections.abc import Callable

import torch


def orient(maps: torch.Tensor, features: torch.Tensor) -> torch.Tensor:
    """The sign by which a map correlates with the sum of the features, times the map."""
    return maps * (maps * features.sum(dim=1)).sum(dim=(1, 2), keepdim=True).sign()


def eigen_cam(a: torch.Tensor, g: torch.Tensor | None = None) -> torch.Tensor:
    """By the largest eigenvector of OᵀO."""
    cells = a.flatten(2).transpose(1, 2)
    component = torch.linalg.eigh(cells.transpose(1, 2) @ cells).eigenvectors[:, :, -1:]
    return orient((cells @ component).squeeze(2).unflatten(1, a.shape[2:]), a)


def kpca_cam(a: torch.Tensor, g: torch.Tensor | None = None, kernel: str = "sigmoid", gamma: float = 0) -> torch.Tensor:
    """H K H v / √λ, v the first eigenvector of H K H, by another algorithm than scipy's."""
    cells, gamma = a.flatten(2).transpose(1, 2), gamma or 1 / a.shape[1]
    cells = cells - cells.mean(dim=1, keepdim=True)
    likeness = {
        "sigmoid": torch.tanh(gamma * cells @ cells.transpose(1, 2) + 1),
        "rbf": torch.exp(-gamma * ((cells[:, :, None] - cells[:, None]) ** 2).sum(dim=3)),
    }[kernel]
    h = torch.eye(cells.shape[1], dtype=a.dtype) - 1 / cells.shape[1]
    centred = h @ likeness @ h
    start = torch.randn(*cells.shape[:2], 1, dtype=a.dtype, generator=torch.Generator().manual_seed(0))
    values, vectors = torch.lobpcg(centred, X=start, niter=200, tol=1e-12)
    maps = (centred @ vectors)[:, :, 0] / values.sqrt()
    return orient(maps.unflatten(1, a.shape[2:]), a)


def fem(a: torch.Tensor, g: torch.Tensor | None = None, deviations: float = 2) -> torch.Tensor:
    """Cell by cell and map by map."""
    maps = torch.zeros(len(a), *a.shape[2:], dtype=a.dtype)
    for image in range(len(a)):
        for feature in a[image]:
            mean = feature.sum() / feature.numel()
            limit = mean + deviations * ((feature - mean) ** 2).mean().sqrt()
            maps[image][feature > limit] += mean
    return maps


FORMULAS: dict[str, Callable[..., torch.Tensor]] = {"eigen-cam": eigen_cam, "kpca-cam": kpca_cam, "fem": fem}
