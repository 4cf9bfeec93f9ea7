"""Plain PyTorch: code that a user writes by hand, with a hook and `torch.autograd.grad`."""

from __future__ import annotations

import numpy as np
import torch
from augmented import AugmentedGradCAM, PublishedSolver
from protocol import serve
from rise import RISE
from torch_grad_cam import TorchGradCAM, over_photos

DEVICES = {"cpu": "cpu", "cuda": "cuda", "tensorrt": "cuda"}


class GradCAM(TorchGradCAM):
    """Signed maps: Selvaraju et al. 2017, equation 1."""

    def build(self) -> None:
        self.device = torch.device(DEVICES[self.case["provider"]])
        self.model.to(self.device)

    def explain(self, batch: torch.Tensor) -> np.ndarray:
        kept: list[torch.Tensor] = []
        handle = self.layer.register_forward_hook(lambda _module, _inputs, output: kept.append(output))
        try:
            logits = self.model(batch.to(self.device))
        finally:
            handle.remove()
        (gradients,) = torch.autograd.grad(logits[:, self.case["target"]].sum(), kept[0])
        features, gradients = self.as_grid(kept[0].detach()), self.as_grid(gradients)
        return torch.einsum("nk,nkhw->nhw", gradients.mean(dim=(2, 3)), features).cpu().numpy()

    def as_grid(self, features: torch.Tensor) -> torch.Tensor:
        """Features as (N, K, h, w); from tokens (N, 1 + h·w, K), without the class token."""
        if features.ndim == 4:
            return features
        height, width = self.case["model"]["grid_hw"]
        return features[:, -height * width :].transpose(1, 2).unflatten(2, (height, width))


class Forward(GradCAM):
    """Only the logits: a yardstick for the methods that make maps."""

    def explain(self, batch: torch.Tensor) -> np.ndarray:
        with torch.inference_mode():
            return self.model(batch.to(self.device)).cpu().numpy()


serve(
    "torch",
    packages=("torch", "numpy"),
    methods={
        "grad-cam": GradCAM,
        "gradient": GradCAM,
        "gradient@forward": Forward,
        "closed": Forward,
        "throughput": over_photos(GradCAM),
        "rise": RISE,
        "augmented-grad-cam": AugmentedGradCAM,
        "augmented-solve": PublishedSolver,
    },
)
