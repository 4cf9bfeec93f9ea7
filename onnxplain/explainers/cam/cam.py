"""Class activation maps (Zhou et al. 2016): feature maps weighted by the linear layer, without gradients."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from onnxplain.errors import UnsupportedError
from onnxplain.explainers.cam.activation_map import ActivationMapExplainer, weighted_sum
from onnxplain.explainers.cam.layer_explainer import require_class
from onnxplain.explainers.needs import LINEAR_HEAD, Need
from onnxplain.runtime.arrays import FloatArray
from onnxplain.runtime.results import Activations
from onnxplain.runtime.target import Target


@dataclass(frozen=True)
class CAM(ActivationMapExplainer):
    """``M_c(x, y) = Σ_k w_k^c A_k(x, y)`` (Zhou et al. 2016, eq. 2), without the bias.

    A_k are the feature maps before global average pooling, w_k^c the weights of the linear layer after it. The class's
    logit is the mean of M_c over the map, plus the bias. `raw` is M_c, float32 (h, w), signed.

    Only classes can be explained, and only the layer in front of the head. Raises UnsupportedError for another `layer`,
    a box coordinate, or a file without `cam_weights` (this message lists the methods that work).
    """

    name: ClassVar[str] = "cam"
    unit: ClassVar[str] = "logit"
    needs: ClassVar[Need] = LINEAR_HEAD
    uses_gradients: ClassVar[bool] = False

    def __post_init__(self) -> None:
        super().__post_init__()
        head_layer = self.engine.spec.outputs.cam_layer
        asked = [head_layer] if self.layer is None else [layer.name for layer in self._layers()]
        if asked != [head_layer]:
            raise UnsupportedError(
                f"cam: found layer {', '.join(map(str, asked))}, expected {head_layer}, the one in front of the "
                "linear head: leave the layer out, or use grad-cam"
            )
        object.__setattr__(self, "layer", head_layer)

    def _resolve_target(self, target: Target) -> int:
        return require_class(self, super()._resolve_target(target), "the linear head's weights belong to classes")

    def weigh(self, activations: Activations) -> FloatArray:
        """``Σ_k w_k A_k``, w the linear layer's weights of the target."""
        return weighted_sum(self.engine.cam_weights()[activations.target], activations.features)
