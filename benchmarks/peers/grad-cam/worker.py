"""pytorch-grad-cam: GradCAM; its maps have the size of the input and are divided by their maximum."""

from __future__ import annotations

from typing import Any

import numpy as np
from protocol import serve
from torch_grad_cam import TorchGradCAM, over_photos


class GradCAM(TorchGradCAM):
    def build(self) -> None:
        from pytorch_grad_cam import GradCAM
        from pytorch_grad_cam.utils.model_targets import ClassifierOutputTarget
        from torch_model import tokens_to_grid

        self.grad_cam = GradCAM(self.model, [self.layer], reshape_transform=tokens_to_grid)
        self.target = ClassifierOutputTarget(self.case["target"])

    def explain(self, batch: Any) -> np.ndarray:
        return self.grad_cam(batch, [self.target] * len(batch))


serve("grad-cam", packages=("torch", "grad-cam"), methods={"grad-cam": GradCAM, "throughput": over_photos(GradCAM)})
