"""Methods that average over noisy copies of the image."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from onnxplain.errors import OnnxplainError
from onnxplain.explainers.aimed.placed_target import PlacedTarget
from onnxplain.explainers.masked.black_box import View
from onnxplain.explainers.pixels.pixel_explainer import PixelExplainer, in_parts
from onnxplain.explainers.progress import Progress
from onnxplain.runtime.arrays import DoubleArray, FloatArray


@dataclass(frozen=True)
class NoisyExplainer(PixelExplainer):
    """Base of SmoothGrad and VarGrad.

    `samples`: copies with Gaussian noise on the normalised input, 50 as in SmoothGrad's figures. `noise`: its standard
    deviation, as a share of the input's range (0.15). `seed`: copy k depends only on (seed, k). Integer inputs round
    the copies.
    """

    samples: int = 50
    noise: float = 0.15
    seed: int = 0

    def _check_options(self) -> None:
        for name, found, least in (("samples", self.samples, 2), ("seed", self.seed, 0)):
            if found < least:
                raise OnnxplainError(f"{name}: found {found}, expected at least {least}")
        if not 0 < self.noise < np.inf:
            raise OnnxplainError(
                f"noise: found {self.noise}, expected a positive share of the input's range, e.g. 0.15"
            )

    @property
    def copies(self) -> int:
        """How many copies of an image get a gradient."""
        return self.samples

    def _moments(self, view: View, placed: PlacedTarget, report: Progress) -> tuple[DoubleArray, DoubleArray]:
        """The means of g and of g² over the copies, float64 (C, H, W)."""
        deviation = np.float32(self.noise) * (view.pixels.max() - view.pixels.min())
        first, second = np.zeros(0), np.zeros(0)
        for part in in_parts(self.samples):
            draws = np.stack([self._draw(copy, view.pixels.shape) for copy in range(part.start, part.stop)])
            gradients = self._gradients(view.pixels + deviation * draws, placed)[1].astype(np.float64)
            sums = gradients.sum(axis=0), (gradients**2).sum(axis=0)
            first, second = sums if part.start == 0 else (first + sums[0], second + sums[1])
            report(part.stop, self.samples)
        return first / self.samples, second / self.samples

    def _draw(self, copy: int, shape: tuple[int, ...]) -> FloatArray:
        return np.random.default_rng((self.seed, copy)).standard_normal(shape, np.float32)
