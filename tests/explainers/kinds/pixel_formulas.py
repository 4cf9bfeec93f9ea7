"""The methods at the pixels, written a second time with torch.autograd, on the networks of this folder."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch

from tests.explainers.kinds.kind_networks import Explained

OPTIONS: dict[str, dict[str, object]] = {
    "integrated-gradients": {"steps": 4},
    "smooth-grad": {"samples": 3, "noise": 0.1},
    "var-grad": {"samples": 3, "noise": 0.1},
    "grad-shap": {"samples": 4, "seed": 2},
}


def gradient_at(e: Explained, pixels: torch.Tensor) -> torch.Tensor:
    """dy / d pixels, (3, H, W)."""
    leaf = pixels.clone().requires_grad_()
    (found,) = torch.autograd.grad(e.y(e.network.features(leaf)).sum(), leaf)
    return found[0]


def noisy(e: Explained) -> torch.Tensor:
    """The gradients of three noisy copies."""
    pixels = e.pixels().float()
    draws = [np.random.default_rng((0, copy)).standard_normal(pixels.shape[1:], np.float32) for copy in range(3)]
    deviation = 0.1 * (pixels.max() - pixels.min())
    return torch.stack([gradient_at(e, (pixels + deviation * torch.from_numpy(draw)).double()) for draw in draws])


def along(e: Explained, shares: list[float], weights: list[float]) -> torch.Tensor:
    """From the mean colour, which is 0, to the image."""
    pixels = e.pixels()
    mean = sum(weight * gradient_at(e, share * pixels) for share, weight in zip(shares, weights, strict=True))
    return (pixels[0] * mean).sum(0)


def integrated(e: Explained) -> torch.Tensor:
    """The Gauss-Legendre rule of four points, from a book of tables."""
    inner, outer = 0.3399810435848563, 0.8611363115940526
    weights = [0.3478548451374538 / 2, 0.6521451548625461 / 2]
    shares = [(1 + point) / 2 for point in (-outer, -inner, inner, outer)]
    return along(e, shares, [*weights, *reversed(weights)])


def random_points(e: Explained) -> torch.Tensor:
    """Four points drawn with their own seeds."""
    return along(e, [np.random.default_rng((2, copy)).random() for copy in range(4)], [0.25] * 4)


FORMULAS: dict[str, Callable[[Explained], torch.Tensor]] = {
    "saliency": lambda e: gradient_at(e, e.pixels()).abs().amax(0),
    "input-x-gradient": lambda e: (e.pixels()[0] * gradient_at(e, e.pixels())).sum(0),
    "integrated-gradients": integrated,
    "smooth-grad": lambda e: noisy(e).mean(0).abs().amax(0),
    "var-grad": lambda e: noisy(e).var(0, correction=0).amax(0),
    "grad-shap": random_points,
}
