"""Grad-CAM++ (Chattopadhay et al. 2018): the gradient at each position has its own weight."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import numpy.typing as npt

from onnxplain.explainers.cam.activation_map import ActivationMapExplainer, require_gradients, weighted_sum
from onnxplain.explainers.needs import POOLED
from onnxplain.runtime.arrays import FloatArray
from onnxplain.runtime.results import Activations


@dataclass(frozen=True)
class GradCAMPlusPlus(ActivationMapExplainer):
    """``M = Σ_k w_k A_k`` with ``w_k = Σ_ij α_kij ReLU(g_kij)``, ``α = g² / (2 g² + g³ Σ_ab A_kab)``.

    Chattopadhay et al. 2018, the closed form (eq. 19). The explained output is Y = exp(y), where y is the logit or box
    coordinate. Its derivatives by A are taken as exp(y) g, exp(y) g² and exp(y) g³ with g = ∂y/∂A. The factor exp(y) in
    w_k only scales the whole map and is left out. α is 0 where its denominator is 0.

    The weights are positive where the maps are positive (behind a ReLU). At a layer with negative features the
    denominator can be close to 0; a few cells then dominate the map. `raw` is M, float32 (h, w), before ReLU.
    """

    name: ClassVar[str] = "grad-cam++"
    no_boxes: ClassVar[str] = POOLED
    unit: ClassVar[str] = "gradient · activation"

    def weigh(self, activations: Activations) -> FloatArray:
        """``Σ_k Σ_ij(α_kij ReLU(g_kij)) A_k``."""
        # The cube of a small gradient underflows in float32.
        features, gradients = activations.features, require_gradients(activations).astype(np.float64)
        weighted = weigh_gradients(features, gradients, gradients**2, gradients**3)
        return weighted_sum(weighted.sum(axis=(2, 3)), features)


def weigh_gradients(
    features: FloatArray,
    first: npt.NDArray[np.floating],
    second: npt.NDArray[np.floating],
    third: npt.NDArray[np.floating],
) -> FloatArray:
    """``α ∘ ReLU(D¹)`` with ``α = D² / (2 D² + D³ Σ_ab A_ab)``, float32, all arrays (…, h, w).

    `first`, `second`, `third` are D¹, D² and D³: g, g² and g³ of one image, or their means over its copies.
    """
    denominators = 2 * second + third * features.sum(axis=(-2, -1), keepdims=True)
    alphas = np.divide(second, denominators, out=np.zeros_like(second), where=denominators != 0)
    weighted: FloatArray = (alphas * np.maximum(first, 0)).astype(np.float32)
    return weighted
