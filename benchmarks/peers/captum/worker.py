"""Captum: LayerGradCam, with signed maps."""

from __future__ import annotations

from typing import Any

import numpy as np
from protocol import serve
from torch_grad_cam import TorchGradCAM, over_photos


class GradCAM(TorchGradCAM):
    """LayerGradCam needs (N, K, h, w): a layer of tokens passes through a grid."""

    def build(self) -> None:
        from captum.attr import LayerGradCam

        if self.case["model"]["architecture"].startswith("vit_"):
            from torch_model import TokenGrid

            shown = TokenGrid(self.layer)
            self.model.set_submodule(self.case["model"]["torch_layer"], shown)
            self.layer = shown.grid
        self.grad_cam = LayerGradCam(self.model, self.layer)

    def explain(self, batch: Any) -> np.ndarray:
        maps = self.grad_cam.attribute(batch, target=self.case["target"])
        return maps[:, 0].detach().numpy()


serve("captum", packages=("torch", "captum"), methods={"grad-cam": GradCAM, "throughput": over_photos(GradCAM)})
