"""XGrad-CAM (Fu et al. 2020): Grad-CAM with gradients weighted by the activity of the feature maps."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from onnxplain.explainers.cam.activation_map import ActivationMapExplainer, require_gradients, weighted_sum
from onnxplain.explainers.needs import POOLED
from onnxplain.runtime.arrays import FloatArray
from onnxplain.runtime.results import Activations


@dataclass(frozen=True)
class XGradCAM(ActivationMapExplainer):
    """``M = Σ_k α_k A_k`` with ``α_k = Σ_ij A_kij g_kij / Σ_ij A_kij`` (Fu et al. 2020).

    g = ∂y/∂A of the logit, or box coordinate, y. Unlike in Grad-CAM, the mean of the gradients is weighted by the map
    itself. So Σ_ij M_ij = Σ_kij A_kij g_kij, which is the output y for a network of ReLUs without biases. A map that
    sums to 0 gets α = 0. `raw` is M, float32 (h, w), signed.
    """

    name: ClassVar[str] = "xgrad-cam"
    no_boxes: ClassVar[str] = POOLED
    unit: ClassVar[str] = "gradient · activation"

    def weigh(self, activations: Activations) -> FloatArray:
        """``Σ_k α_k A_k``."""
        features = activations.features
        totals = features.sum(axis=(2, 3))
        weighted = (features * require_gradients(activations)).sum(axis=(2, 3))
        weights = np.divide(weighted, totals, out=np.zeros_like(totals), where=totals != 0)
        return weighted_sum(weights, features)
