"""Finer-CAM (Zhang et al. 2025): evidence for a class compared with the most similar classes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, ClassVar

import numpy as np
import numpy.typing as npt

from onnxplain.errors import OnnxplainError, UnsupportedError
from onnxplain.explainers.cam.activation_map import require_gradients
from onnxplain.explainers.cam.grad_cam import GradCAM
from onnxplain.explainers.cam.layer_explainer import require_class
from onnxplain.runtime.results import Activations
from onnxplain.runtime.target import Target

if TYPE_CHECKING:
    from onnxplain.contract import LayerSpec
    from onnxplain.runtime.image import ImageLike


@dataclass(frozen=True)
class FinerCAM(GradCAM):
    """Grad-CAM of ``y_c − strength · mean over d of y_d``, d the `references` classes closest to c (Zhang et al. 2025).

    y are logits. As in the published code, the closest classes are those whose logits are nearest to y_c; for the
    predicted class these are the next best ones. Gradients are linear, so each class is differentiated separately and
    the gradients are combined. Two forward passes per image and layer: one for the class, one for all references; or
    1 + `references` where a layer takes one target at a time. If there are fewer other classes, all are used.
    `strength` 0 is Grad-CAM; near 1, evidence that the classes share cancels out. The published code weights the
    references by their softmax scores; here all have the same weight.

    `raw` is float32 (h, w), signed: positive where there is more evidence for c than for the others. Box coordinates
    are refused. Raises OnnxplainError for a strength below 0, fewer than one reference, and a model with one class.
    """

    references: int = 3
    strength: float = 0.6

    name: ClassVar[str] = "finer-cam"
    unit: ClassVar[str] = "gradient · activation"

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.references < 1:
            raise OnnxplainError(f"references: found {self.references}, expected at least 1")
        if not 0 <= self.strength < np.inf:
            raise OnnxplainError(f"strength: found {self.strength}, expected a number from 0 up, usually 0.6 to 1")
        if self.engine.spec.classes < 2:
            raise UnsupportedError(
                "finer-cam: found a model with one class, expected at least two to compare: use grad-cam"
            )

    def _evaluations(self, layer: LayerSpec) -> int:
        return 2 if layer.many_targets else 1 + self._reference_count

    @property
    def _reference_count(self) -> int:
        return min(self.references, self.engine.spec.classes - 1)

    def _resolve_target(self, target: Target) -> int:
        return require_class(self, super()._resolve_target(target), "it is compared with similar classes")

    def _takes_gradients(self, targets: Sequence[int], layer: LayerSpec) -> bool:
        return True

    def _observe(
        self, images: ImageLike | Sequence[ImageLike], targets: Sequence[int], layer: LayerSpec
    ) -> Activations:
        activations = super()._observe(images, targets, layer)
        contrast = require_gradients(activations).copy()
        similar = find_similar_classes(activations, self._reference_count)
        pixels = self.engine.prepare(images).pixels
        # The rows of each image: one, or one per target of a single image.
        for rows in [slice(None)] if len(pixels) == 1 else [slice(row, row + 1) for row in range(len(pixels))]:
            classes, places = np.unique(similar[rows], return_inverse=True)
            (gradients,) = self.engine.run(pixels[rows][:1], [layer.gradients], classes, layer.name)
            for references in places.reshape(similar[rows].shape).T:
                contrast[rows] -= np.float32(self.strength / self._reference_count) * gradients[references]
        return replace(activations, gradients=contrast)


def find_similar_classes(activations: Activations, count: int) -> npt.NDArray[np.int64]:
    """The `count` classes whose logits are nearest to the target's, int64 (N, count). Ties are ordered by index."""
    logits = activations.logits
    if logits is None:
        raise UnsupportedError("finer-cam: found a file without logits, expected a logits output: use grad-cam")
    rows = np.arange(len(logits))
    distances = np.abs(logits - logits[rows, activations.target][:, None])
    distances[rows, activations.target] = np.inf
    return np.argsort(distances, axis=1, kind="stable")[:, :count]
