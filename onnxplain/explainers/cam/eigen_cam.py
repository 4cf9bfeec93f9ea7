"""Eigen-CAM (Muhammad & Yeasin 2020) and Eigen-Grad-CAM: the first principal component of a layer's feature maps."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from onnxplain.explainers.cam.activation_map import ActivationMapExplainer, require_gradients
from onnxplain.runtime.arrays import FloatArray
from onnxplain.runtime.results import Activations


@dataclass(frozen=True)
class EigenCAM(ActivationMapExplainer):
    """``M = O v``: O (h·w, K) holds the feature maps, v is its first right singular vector (Muhammad & Yeasin 2020).

    The map shows what is strongest in the layer, whatever the class. It uses no gradient and no target; `target` only
    sets the name in the explanation. As in the paper, O is not centred. The sign is chosen so that Σ_k v_k ≥ 0: M then
    correlates with the sum of the maps. `raw` is M, float32 (h, w), not negative if the features are not negative.
    """

    name: ClassVar[str] = "eigen-cam"
    unit: ClassVar[str] = "first component"
    uses_target: ClassVar[bool] = False
    uses_gradients: ClassVar[bool] = False
    combines: ClassVar[bool] = False

    def weigh(self, activations: Activations) -> FloatArray:
        """``O v`` of the features."""
        return project_on_first_component(activations.features)


@dataclass(frozen=True)
class EigenGradCAM(ActivationMapExplainer):
    """``M = O v`` as in `EigenCAM`, O holding the products ``A_k ∘ g_k`` with g = ∂y/∂A of the logit or coordinate y.

    A method of the package pytorch-grad-cam (Gildenblat 2021), which also centres the columns. With the sign rule
    Σ_k v_k ≥ 0, M correlates with HiResCAM's map, which is the row sum of O: positive heat is evidence for the target.
    `raw` is M, float32 (h, w), signed.
    """

    name: ClassVar[str] = "eigen-grad-cam"
    unit: ClassVar[str] = "first component"

    def weigh(self, activations: Activations) -> FloatArray:
        """``O v`` of the features times their gradients."""
        return project_on_first_component(require_gradients(activations) * activations.features)


def project_on_first_component(maps_nkhw: FloatArray) -> FloatArray:
    """``O v = σ₁ u₁`` for each image, float32 (N, h, w); all NaN if the image's maps hold NaN or infinity."""
    count, channels, height, width = maps_nkhw.shape
    projected = np.full((count, height, width), np.nan, np.float32)
    for position, maps_khw in enumerate(maps_nkhw):
        if np.isfinite(maps_khw).all():
            cells = maps_khw.reshape(channels, height * width).T
            left, lengths, right = np.linalg.svd(cells, full_matrices=False)
            sign = 1 if right[0].sum() >= 0 else -1
            projected[position] = (sign * lengths[0] * left[:, 0]).reshape(height, width)
    return projected
