"""LayerCAM (Jiang et al. 2021): each cell is weighted by its positive gradient. Also works at shallow layers."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from onnxplain.explainers.cam.activation_map import require_gradients
from onnxplain.explainers.cam.box_explainer import BoxExplainer
from onnxplain.runtime.arrays import FloatArray
from onnxplain.runtime.results import Activations


@dataclass(frozen=True)
class LayerCAM(BoxExplainer):
    """``M = Σ_k ReLU(g_k) ∘ A_k``, with g = ∂y/∂A of the logit, or box coordinate, y (Jiang et al. 2021).

    `raw` is M, float32 (h, w): not negative where the features are not negative. The paper fuses the maps of several
    layers: ``layer=["layer2", "layer4"]`` or ``layer="all"``.
    """

    name: ClassVar[str] = "layer-cam"
    unit: ClassVar[str] = "gradient · activation"

    def weigh(self, activations: Activations) -> FloatArray:
        """``Σ_k ReLU(g_k) ∘ A_k``."""
        maps: FloatArray = (np.maximum(require_gradients(activations), 0) * activations.features).sum(axis=1)
        return maps
