"""LeGrad (Bousselham et al. 2024): how sensitive the answer is to the attention of each layer."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from onnxplain.contract import LayerSpec
from onnxplain.explainers.attention.attention_explainer import AttentionExplainer, mean_of_heads
from onnxplain.explainers.needs import LAYERWISE_ATTENTION, Need
from onnxplain.runtime.arrays import DoubleArray


@dataclass(frozen=True)
class LeGrad(AttentionExplainer):
    """``E = 1/L Σ_l E_l`` with ``E_l = mean over heads and rows of ReLU(∂s_l/∂A_l)``.

    s_l is what the model's own head, with its last normalization, says of the tokens at the end of block l: the logit
    of the target, or what else is differentiated, as if the network ended there. Bousselham et al., LeGrad: An
    Explainability Method for Vision Transformers via Feature Formation Sensitivity (arXiv 2404.03214; ICCV 2025),
    section 3. All layers count alike. `raw` is E without the class token.
    """

    name: ClassVar[str] = "legrad"
    unit: ClassVar[str] = "gradient"
    uses_gradients: ClassVar[bool] = True
    needs: ClassVar[Need] = LAYERWISE_ATTENTION

    def follow(self, matrices: Sequence[DoubleArray], gradients: Sequence[DoubleArray], rows: slice) -> DoubleArray:
        """E. The rows of tokens that the head does not read are zero."""
        layers = [mean_of_heads(np.maximum(gradient, 0)).mean(axis=0) for gradient in gradients]
        mean: DoubleArray = np.mean(layers, axis=0)
        return mean

    def _layers(self) -> tuple[LayerSpec, ...]:
        return self._attention.layerwise_layers
