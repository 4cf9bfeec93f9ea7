"""Class activation maps (Zhou et al. 2016): feature maps weighted by the linear layer, without gradients."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from onnxplain.errors import UnsupportedError
from onnxplain.explainers.aimed.observing import target_weights
from onnxplain.explainers.aimed.placing import name_aim
from onnxplain.explainers.cam.activation_map import ActivationMapExplainer, weighted_sum
from onnxplain.explainers.needs import LINEAR_HEAD, POOLED, Need
from onnxplain.runtime.arrays import FloatArray
from onnxplain.runtime.results import Activations
from onnxplain.runtime.target import ResolvedTarget, Target

if TYPE_CHECKING:
    from onnxplain.contract.heads import HeadKind


@dataclass(frozen=True)
class CAM(ActivationMapExplainer):
    """``M_c(x, y) = Σ_k w_k^c A_k(x, y)`` (Zhou et al. 2016, eq. 2), without the bias.

    A_k are the feature maps before global average pooling, w_k^c the weights of the linear layer after it. The class's
    logit is the mean of M_c over the map, plus the bias. `raw` is M_c, float32 (h, w), signed.

    The default head can be explained, if it is of classes, labels or values, at the layer in front of it. Raises
    UnsupportedError for another `layer`, a box coordinate or another head, or a file without `cam_weights` (this
    message lists the methods that work).
    """

    name: ClassVar[str] = "cam"
    no_boxes: ClassVar[str] = POOLED
    unit: ClassVar[str] = "logit"
    needs: ClassVar[Need] = LINEAR_HEAD
    refused_kinds: ClassVar[Mapping[HeadKind, str]] = {"box": "the linear head's weights belong to classes"}
    uses_gradients: ClassVar[bool] = False
    combines: ClassVar[bool] = True

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

    def _aim(self, target: Target) -> ResolvedTarget:
        aim = super()._aim(target)
        head = self.engine.spec.head
        if aim.head is not head:
            raise UnsupportedError(
                f"cam: found target {name_aim(self.engine, aim)}, expected an entry of the head {head.name}: the "
                "linear layer's weights belong to that head; use grad-cam"
            )
        return aim

    def weigh(self, activations: Activations) -> FloatArray:
        """``Σ_k w_k A_k``, w the linear layer's weights of the target."""
        return weighted_sum(target_weights(self.engine.cam_weights(), activations), activations.features)
