"""VarGrad (Adebayo et al. 2018): how much the gradient of a pixel varies over noisy copies."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from onnxplain.explainers.pixels.noisy_explainer import NoisyExplainer
from onnxplain.runtime.arrays import DoubleArray


@dataclass(frozen=True)
class VarGrad(NoisyExplainer):
    """``raw = max_c Var_k g_c(x + noise_k)`` (Adebayo et al., Local Explanation Methods for Deep Neural Networks Lack
    Sensitivity to Parameter Values, ICLR workshop 2018).

    The variance of the copies, divided by their number. The map has no sign, so ``not:`` is refused.

    `samples`: copies with Gaussian noise on the normalised input (50). `noise`: its standard
    deviation, as a share of the input's range (0.15). `seed`: copy k depends only on (seed, k). Integer inputs round
    the copies.
    """

    name: ClassVar[str] = "var-grad"
    unit: ClassVar[str] = "variance of the gradient"
    signed: ClassVar[bool] = False
    powers: ClassVar[tuple[int, ...]] = (1, 2)

    def _estimate(self, moments: DoubleArray) -> DoubleArray:
        first, second = moments
        variance: DoubleArray = np.maximum(second - first**2, 0).max(axis=0)
        return variance
