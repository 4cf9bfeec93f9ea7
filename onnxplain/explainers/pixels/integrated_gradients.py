"""Integrated gradients (Sundararajan et al. 2017): the change of the answer from a baseline, for each pixel."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from onnxplain.errors import OnnxplainError
from onnxplain.explainers.pixels.path_explainer import PathExplainer
from onnxplain.runtime.arrays import DoubleArray


@dataclass(frozen=True)
class IntegratedGradients(PathExplainer):
    """``raw = Σ_c (x_c − b_c) ∫₀¹ g_c(b + α (x − b)) dα``.

    Sundararajan et al., Axiomatic Attribution for Deep Networks, ICML 2017, equation 1. The integral is that of the
    Gauss-Legendre rule with `steps` points (50). A kink of ReLUs between two points costs accuracy; more steps help.
    `fill`: the baseline b: "mean", as for `RISE`, "blur", a colour or another image. The map adds up to y(x) − y(b);
    `Explanation.report`, a `CompletenessReport`, says how well. Files of integer inputs round the points of the path.
    3 + `steps` passes.
    """

    steps: int = 50

    name: ClassVar[str] = "integrated-gradients"

    def _check_options(self) -> None:
        if not 1 <= self.steps <= _MOST_STEPS:
            raise OnnxplainError(f"steps: found {self.steps}, expected 1 to {_MOST_STEPS}")
        super()._check_options()

    @property
    def copies(self) -> int:
        """How many copies of an image get a gradient."""
        return self.steps

    def _points(self) -> tuple[DoubleArray, DoubleArray]:
        points, weights = np.polynomial.legendre.leggauss(self.steps)
        return (points + 1) / 2, weights / 2


# The rule is found from an eigenvalue problem of this size.
_MOST_STEPS = 2000
