"""Grad-CAM (Selvaraju et al. 2017): feature maps weighted by the mean of their gradients."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

import numpy as np

from onnxplain.explainers.aimed.observing import target_weights
from onnxplain.explainers.aimed.placed_target import PlacedTarget
from onnxplain.explainers.cam.activation_map import ActivationMapExplainer, weighted_sum
from onnxplain.explainers.needs import POOLED
from onnxplain.runtime.arrays import FloatArray
from onnxplain.runtime.results import Activations

if TYPE_CHECKING:
    from onnxplain.contract import LayerSpec, ModelSpec


@dataclass(frozen=True)
class GradCAM(ActivationMapExplainer):
    """``M = Σ_k α_k A_k`` with ``α_k = mean over (x, y) of ∂y / ∂A_k(x, y)`` (Selvaraju et al. 2017, eq. 1).

    A_k are the feature maps of `layer`. y is the logit of a class or a label (not its probability), a number, a
    coordinate of the box head, a cosine, or the mean logit over a region of a mask. For a number or a coordinate,
    positive heat shows where the features increase it. `raw` is M, float32 (h, w), signed; the
    paper's ReLU is applied in the heatmap.

    In front of a linear head, the gradient of a class is the constant w / (h·w) and is not computed. M is then CAM's
    map divided by h·w, and all classes of an image come from one forward pass.
    """

    name: ClassVar[str] = "grad-cam"
    no_boxes: ClassVar[str] = POOLED
    unit: ClassVar[str] = "gradient · activation"

    def _takes_gradients(self, placed: Sequence[PlacedTarget], layer: LayerSpec) -> bool:
        return not all(has_constant_gradient(self.engine.spec, each.index, layer) for each in placed)

    def weigh(self, activations: Activations) -> FloatArray:
        """``Σ_k mean(g_k) A_k``."""
        if activations.gradients is None:
            weights = target_weights(self.engine.cam_weights(), activations)
            weights = weights / np.float32(math.prod(activations.layer.size_hw))
        else:
            weights = activations.gradients.mean(axis=(2, 3))
        return weighted_sum(weights, activations.features)


def has_constant_gradient(spec: ModelSpec, target: int, layer: LayerSpec) -> bool:
    """Whether the gradient of a target (−1: the predicted class) by a layer is w / (h·w) for every image."""
    return spec.outputs.linear_head and layer.name == spec.outputs.cam_layer and target < spec.classes
