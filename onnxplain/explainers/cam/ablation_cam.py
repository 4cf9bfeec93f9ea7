"""Ablation-CAM (Desai & Ramaswamy 2020): feature maps weighted by how much the score falls without each."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

import numpy as np

from onnxplain.explainers.cam.activation_map import weighted_sum
from onnxplain.explainers.cam.probing import Probe
from onnxplain.explainers.cam.tail_probing import TailProbingExplainer
from onnxplain.runtime.arrays import FloatArray
from onnxplain.runtime.results import Activations

if TYPE_CHECKING:
    from onnxplain.contract import LayerSpec


@dataclass(frozen=True)
class AblationCAM(TailProbingExplainer):
    """``M = Σ_k w_k A_k`` with ``w_k = (y − y_k) / |y|`` (Desai & Ramaswamy, WACV 2020, equations 3 and 4).

    y is what Grad-CAM differentiates: a logit, a number, a coordinate, a cosine or a mean logit. y_k is its value when
    only map A_k is set to zero. The paper divides by y, which is the same if y is positive. Unlikely classes can have a
    negative y, which would reverse the sign of the map. If y is 0, nothing is divided.

    `raw` is M, float32 (h, w), signed: negative where the maps lower the score. One pass through the model and 1 + K
    passes through its tail.
    """

    name: ClassVar[str] = "ablation-cam"
    unit: ClassVar[str] = "share of the logit · activation"

    def _count_changes(self, layer: LayerSpec) -> int:
        return layer.channels

    def _change(self, copies: FloatArray, features: FloatArray, start: int) -> None:
        copies[:] = features
        rows = np.arange(len(copies))
        copies[rows, start + rows] = 0

    def _weigh_answers(self, activations: Activations, probe: Probe) -> FloatArray:
        without, complete = probe.answers.T, probe.reference[:, None]
        scale = np.abs(complete)
        scale[scale == 0] = 1
        weights = (complete - without) / scale
        return weighted_sum(weights.astype(np.float32, copy=False), activations.features)
