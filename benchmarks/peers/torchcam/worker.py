"""torch-cam: GradCAM, with maps before normalisation."""

from __future__ import annotations

from typing import Any

import numpy as np
from protocol import serve
from torch_grad_cam import TorchGradCAM, over_photos


class GradCAM(TorchGradCAM):
    def build(self) -> None:
        from torch_model import tokens_to_grid
        from torchcam.methods import GradCAM

        self.grad_cam = GradCAM(self.model, self.layer, reshape_transform=tokens_to_grid)

    def explain(self, batch: Any) -> np.ndarray:
        scores = self.model(batch)
        return self.grad_cam(self.case["target"], scores, normalized=False)[0].numpy()


serve("torchcam", packages=("torch", "torchcam"), methods={"grad-cam": GradCAM, "throughput": over_photos(GradCAM)})
