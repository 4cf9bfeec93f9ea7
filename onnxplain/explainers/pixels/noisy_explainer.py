"""Methods that average over noisy copies of the image."""

from __future__ import annotations

from abc import abstractmethod
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from onnxplain.errors import OnnxplainError
from onnxplain.explainers.aimed.observing import PlacedActivations
from onnxplain.explainers.hiding.jackknife import error_share
from onnxplain.explainers.masked.black_box import View
from onnxplain.explainers.pixels.copy_sums import CopySums
from onnxplain.explainers.pixels.noise_report import NoiseReport
from onnxplain.explainers.pixels.pixel_explainer import PixelExplainer, PixelMap, in_parts
from onnxplain.explainers.progress import Progress
from onnxplain.runtime.arrays import DoubleArray, FloatArray


@dataclass(frozen=True)
class NoisyExplainer(PixelExplainer):
    """Base of SmoothGrad and VarGrad.

    `samples`: copies with Gaussian noise on the normalised input, 50 as in SmoothGrad's figures. `noise`: its standard
    deviation, as a share of the input's range (0.15). `seed`: copy k depends only on (seed, k). Integer inputs round
    the copies. `report` is a `NoiseReport` with the map's standard error.
    """

    samples: int = 50
    noise: float = 0.15
    seed: int = 0

    # The powers of the gradient g whose means the map is made of.
    powers: ClassVar[tuple[int, ...]] = (1,)

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

    @abstractmethod
    def _estimate(self, moments: DoubleArray) -> DoubleArray:
        """The map, float64 (H, W), from the means of the `powers` of g over copies, float64 (powers, C, H, W)."""

    def _map(self, view: View, seen: PlacedActivations, report: Progress) -> PixelMap:
        deviation = np.float32(self.noise) * (view.pixels.max() - view.pixels.min())
        sums: CopySums | None = None
        for part in in_parts(self.samples):
            draws = np.stack([self._draw(copy, view.pixels.shape) for copy in range(part.start, part.stop)])
            gradients = self._gradients(view.pixels + deviation * draws, seen.placed[0])[1].astype(np.float64)
            sums = CopySums((len(self.powers), *gradients.shape[1:])) if sums is None else sums
            sums.add(np.stack([gradients**power for power in self.powers], axis=1))
            report(part.stop, self.samples)
        assert sums is not None
        raw, error = sums.error_of(self._estimate)
        return PixelMap(raw, NoiseReport(self.samples, self.seed, error_share(raw, error), error))

    def _draw(self, copy: int, shape: tuple[int, ...]) -> FloatArray:
        return np.random.default_rng((self.seed, copy)).standard_normal(shape, np.float32)
