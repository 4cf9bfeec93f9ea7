"""FEM (Fuad et al. 2020): where the feature maps are far above their mean."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from onnxplain.errors import OnnxplainError
from onnxplain.explainers.cam.activation_map import ActivationMapExplainer
from onnxplain.runtime.arrays import FloatArray
from onnxplain.runtime.results import Activations


@dataclass(frozen=True)
class FEM(ActivationMapExplainer):
    """``M = Σ_k μ_k [A_k > μ_k + deviations · σ_k]``: the feature explanation method (Fuad et al. 2020).

    μ_k and σ_k are the mean and the standard deviation of feature map k over its h · w cells. Each map marks its own
    rare cells, and counts by its mean. The method uses no gradient and no target; `target` only sets the name in the
    explanation.

    No value of n cells is more than √(n − 1) standard deviations above their mean. So a layer of five cells or fewer
    has no rare cell at 2 deviations, and the explanation's status is `no_positive_evidence`. `raw` is M, float32
    (h, w), not negative if the features are not negative. Raises OnnxplainError for `deviations` below 0.
    """

    deviations: float = 2.0

    name: ClassVar[str] = "fem"
    unit: ClassVar[str] = "mean activation"
    uses_target: ClassVar[bool] = False
    uses_gradients: ClassVar[bool] = False
    combines: ClassVar[bool] = False

    def __post_init__(self) -> None:
        super().__post_init__()
        if not 0 <= self.deviations < np.inf:
            raise OnnxplainError(f"deviations: found {self.deviations}, expected a number from 0 up, usually 1 to 3")

    def weigh(self, activations: Activations) -> FloatArray:
        """``Σ_k μ_k [A_k > μ_k + deviations · σ_k]``; all NaN if the image's maps hold NaN or infinity."""
        features = activations.features
        maps = np.full((len(features), *features.shape[2:]), np.nan, np.float32)
        for position, maps_khw in enumerate(features):
            if np.isfinite(maps_khw).all():
                # In float64 the mean of equal numbers is that number, so a constant map has no rare cell.
                means = maps_khw.mean(axis=(1, 2), dtype=np.float64, keepdims=True)
                spread = maps_khw.std(axis=(1, 2), dtype=np.float64, keepdims=True)
                rare = maps_khw > means + self.deviations * spread
                maps[position] = (means * rare).sum(axis=0)
        return maps
