"""SmoothGrad (Smilkov et al. 2017): the saliency of the mean gradient over noisy copies."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from onnxplain.explainers.pixels.noisy_explainer import NoisyExplainer
from onnxplain.runtime.arrays import DoubleArray


@dataclass(frozen=True)
class SmoothGrad(NoisyExplainer):
    """``raw = max_c |1/n Σ_k g_c(x + noise_k)|`` (Smilkov et al., SmoothGrad: removing noise by adding noise, 2017).

    The map has no sign, so ``not:`` is refused.

    `samples`: copies with Gaussian noise on the normalised input (50). `noise`: its standard
    deviation, as a share of the input's range (0.15). `seed`: copy k depends only on (seed, k). Integer inputs round
    the copies.
    """

    name: ClassVar[str] = "smooth-grad"
    unit: ClassVar[str] = "gradient"
    signed: ClassVar[bool] = False

    def _estimate(self, moments: DoubleArray) -> DoubleArray:
        largest: DoubleArray = np.abs(moments[0]).max(axis=0)
        return largest
