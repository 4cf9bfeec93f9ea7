"""Gradient SHAP (Lundberg & Lee; Erion et al. 2021): integrated gradients at random points of the path."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from onnxplain.errors import OnnxplainError
from onnxplain.explainers.pixels.path_explainer import PathExplainer
from onnxplain.runtime.arrays import DoubleArray


@dataclass(frozen=True)
class GradientSHAP(PathExplainer):
    """``raw = Σ_c (x_c − b_c) · mean over k of g_c(b + α_k (x − b))``, α uniform on [0, 1].

    Expected gradients (Erion et al., Improving performance of deep learning models with axiomatic attribution priors
    and expected gradients, Nature Machine Intelligence 2021), the GradientExplainer of the shap package, with one
    baseline, `fill`. Its mean over seeds is `IntegratedGradients`, which needs fewer passes for the same accuracy; use
    this one to compare with shap. `samples`: points, 50. α_k depends only on (`seed`, k). 3 + `samples` passes.
    `report` is a `CompletenessReport` with the map's standard error.
    """

    samples: int = 50
    seed: int = 0

    name: ClassVar[str] = "grad-shap"
    drawn: ClassVar[bool] = True

    def _check_options(self) -> None:
        for name, found, least in (("samples", self.samples, 1), ("seed", self.seed, 0)):
            if found < least:
                raise OnnxplainError(f"{name}: found {found}, expected at least {least}")
        super()._check_options()

    @property
    def copies(self) -> int:
        """How many copies of an image get a gradient."""
        return self.samples

    def _points(self) -> tuple[DoubleArray, DoubleArray]:
        shares = np.array([np.random.default_rng((self.seed, copy)).random() for copy in range(self.samples)])
        return shares, np.full(self.samples, 1 / self.samples)
