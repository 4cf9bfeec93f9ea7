"""Smooth Grad-CAM++ (Omeiza et al. 2019): Grad-CAM++ with derivatives averaged over noisy copies of the image."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, ClassVar

import numpy as np
import numpy.typing as npt

from onnxplain.errors import OnnxplainError
from onnxplain.explainers.aimed.observing import PlacedActivations, observe_placed, run_gradients
from onnxplain.explainers.aimed.placed_target import PlacedTarget
from onnxplain.explainers.cam.activation_map import ActivationMapExplainer, require_gradients, weighted_sum
from onnxplain.explainers.cam.grad_cam_plus_plus import weigh_gradients
from onnxplain.explainers.needs import POOLED
from onnxplain.explainers.passes import Passes
from onnxplain.explainers.progress import Progress
from onnxplain.runtime.arrays import FloatArray
from onnxplain.runtime.results import Activations
from onnxplain.runtime.sessions.batches import IMAGES_AT_ONCE
from onnxplain.runtime.target import Target

if TYPE_CHECKING:
    from onnxplain.contract import LayerSpec
    from onnxplain.explainers.explanation import Explanation
    from onnxplain.runtime.image import ImageLike


@dataclass(frozen=True)
class SmoothGradCAMPlusPlus(ActivationMapExplainer):
    """``M = Σ_k w_k A_k``, ``w_k = Σ_ij α_kij ReLU(D¹_kij)``, ``α = D² / (2 D² + D³ Σ_ab A_kab)`` (Omeiza et al. 2019).

    A are the feature maps of the image itself. D¹, D² and D³ are the means of g, g² and g³ over `samples` noisy copies,
    with g = ∂y/∂A of the logit, or box coordinate, y at that copy. As in Grad-CAM++, they stand for the derivatives of
    exp(y) without the factor exp(y), although here this factor differs between copies. As in Grad-CAM++, the numerator
    of α is D², where the paper prints the first derivative. All copies explain the class predicted for the image.

    A copy is the normalised input plus Gaussian noise. The standard deviation of the noise is `noise` times the input's
    range, maximum minus minimum (Smilkov et al. 2017). The noise of copy m depends only on `seed` and m. A file with
    uint8 input rounds and clips the copy. In front of a linear head the gradient does not depend on the image, so this
    is Grad-CAM++.

    1 + `samples` forward passes per image and layer, 8 at a time. `progress(done, total)` is called after each batch;
    it counts copies over all images of the call. `raw` is M, float32 (h, w), before ReLU. Raises OnnxplainError for
    fewer than one sample, a negative seed, and a noise that is not a positive number.
    """

    samples: int = 16
    noise: float = 0.15
    seed: int = 0
    progress: Progress | None = None

    name: ClassVar[str] = "smooth-grad-cam++"
    no_boxes: ClassVar[str] = POOLED
    unit: ClassVar[str] = "gradient · activation"

    def __post_init__(self) -> None:
        super().__post_init__()
        for name, found, least in (("samples", self.samples, 1), ("seed", self.seed, 0)):
            if found < least:
                raise OnnxplainError(f"{name}: found {found}, expected at least {least}")
        if not 0 < self.noise < np.inf:
            raise OnnxplainError(
                f"noise: found {self.noise}, expected a positive share of the input's range, e.g. 0.15"
            )

    @property
    def _evaluations_per_layer(self) -> int:
        return 1 + self.samples

    @property
    def passes(self) -> Passes | None:
        """See `Explainer`."""
        layers = len(self._layers())
        return Passes(forward=layers, gradient=layers * self.samples)

    def for_targets(self, image: ImageLike, targets: Sequence[Target]) -> list[Explanation]:
        """One explanation of the image per target; each target has copies of its own."""
        return self._explain_all([image] * len(targets), targets) if targets else []

    def _observe(
        self, images: ImageLike | Sequence[ImageLike], placed: Sequence[PlacedTarget], layer: LayerSpec
    ) -> PlacedActivations:
        """The image's own feature maps, and α ∘ ReLU(D¹) in place of its gradients."""
        clean = observe_placed(self.engine, images, placed, layer, gradients=False)
        weighted = np.empty(clean.features.shape, np.float32)
        for position, pixels_chw in enumerate(self.engine.prepare(images).pixels):
            before = self._layers().index(layer) * len(placed) + position
            means = self._average_powers(pixels_chw, clean.placed[position], layer, before, len(placed))
            weighted[position] = weigh_gradients(clean.features[position], *means)
        return replace(clean, gradients=weighted)

    def weigh(self, activations: Activations) -> FloatArray:
        """``Σ_k w_k A_k``; `_observe` has put α ∘ ReLU(D¹) in place of the gradients."""
        return weighted_sum(require_gradients(activations).sum(axis=(2, 3)), activations.features)

    def _average_powers(
        self, pixels_chw: FloatArray, placed: PlacedTarget, layer: LayerSpec, before: int, images: int
    ) -> npt.NDArray[np.float64]:
        """The means of g, g² and g³ over the noisy copies of one image, (3, K, h, w)."""
        deviation = np.float32(self.noise) * (pixels_chw.max() - pixels_chw.min())
        sums: npt.NDArray[np.float64] = np.zeros((3, layer.channels, *layer.size_hw))
        for start in range(0, self.samples, IMAGES_AT_ONCE):
            stop = min(start + IMAGES_AT_ONCE, self.samples)
            draws = [self._draw(copy, pixels_chw.shape) for copy in range(start, stop)]
            gradients = run_gradients(self.engine, pixels_chw + deviation * np.stack(draws), placed, layer)[1]
            for power in (1, 2, 3):
                sums[power - 1] += (gradients.astype(np.float64) ** power).sum(axis=0)
            if self.progress is not None:
                self.progress(before * self.samples + stop, self.samples * images * len(self._layers()))
        return sums / self.samples

    def _draw(self, copy: int, shape: tuple[int, ...]) -> FloatArray:
        return np.random.default_rng((self.seed, copy)).standard_normal(shape, np.float32)
