"""Grad-CAM (Selvaraju et al. 2017): feature maps weighted by the mean of their gradients."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from onnxplain.explainers.activation_map import ActivationMapExplainer, require_gradients, weighted_sum
from onnxplain.explainers.heatmap import FloatArray
from onnxplain.runtime.results import Activations


@dataclass(frozen=True)
class GradCAM(ActivationMapExplainer):
    """``M = Σ_k α_k A_k`` with ``α_k = mean over (x, y) of ∂y / ∂A_k(x, y)`` (Selvaraju et al. 2017, eq. 1).

    A_k are the feature maps of `layer`, y is the logit of a class (not its probability), or a coordinate of
    the box head: then positive heat is where the features push that coordinate up. `raw` is M, float32 (h,
    w), signed; the paper's ReLU comes with the heatmap.
    """

    name: ClassVar[str] = "grad-cam"

    def _weigh(self, activations: Activations) -> FloatArray:
        return weighted_sum(require_gradients(activations).mean(axis=(2, 3)), activations.features)
