"""HiResCAM (Draelos & Carin 2020): features times gradients, cell by cell."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from onnxplain.explainers.cam.activation_map import require_gradients
from onnxplain.explainers.cam.box_explainer import BoxExplainer
from onnxplain.runtime.arrays import FloatArray
from onnxplain.runtime.results import Activations


@dataclass(frozen=True)
class HiResCAM(BoxExplainer):
    """``M = Σ_k g_k ∘ A_k``, with g = ∂y/∂A of the logit, or box coordinate, y (Draelos & Carin 2020).

    The gradients are not averaged. If the head is linear in the maps, Σ_ij M_ij is exactly y without the bias, so each
    cell shows its contribution. `raw` is M, float32 (h, w), signed.
    """

    name: ClassVar[str] = "hires-cam"
    unit: ClassVar[str] = "gradient · activation"

    def weigh(self, activations: Activations) -> FloatArray:
        """``Σ_k g_k ∘ A_k``."""
        maps: FloatArray = (require_gradients(activations) * activations.features).sum(axis=1)
        return maps
