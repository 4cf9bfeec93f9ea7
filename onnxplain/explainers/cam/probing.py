"""Gradient-free methods of the CAM family: change an image, or its features, in many ways and measure each effect."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from onnxplain.errors import OnnxplainError
from onnxplain.explainers.aimed.observing import PlacedActivations, observe_placed
from onnxplain.explainers.cam.layer_explainer import LayerExplainer
from onnxplain.explainers.progress import Progress
from onnxplain.runtime.arrays import FloatArray
from onnxplain.runtime.results import Activations
from onnxplain.runtime.target import Target

if TYPE_CHECKING:
    from onnxplain.explainers.explanation import Explanation
    from onnxplain.runtime.image import ImageLike


@dataclass(frozen=True, eq=False)
class Probe:
    """The explained numbers for M changes of one image or of its features, one column per target asked for.

    `answers`: float32 (M, T). `reference`: float32 (T,), the numbers to compare them with. `evaluations`: the number of
    forward passes through the model or its tail.
    """

    answers: FloatArray
    reference: FloatArray
    evaluations: int

    def __post_init__(self) -> None:
        if self.answers.ndim != 2 or self.reference.shape != self.answers.shape[1:]:
            raise OnnxplainError(
                f"answers: found shape {self.answers.shape} and a reference of {self.reference.shape}, expected "
                "(M, T) and (T,)"
            )


@dataclass(frozen=True)
class ProbingExplainer(LayerExplainer):
    """Base of the methods that need no gradients: they change the input or the features and compare the outputs.

    Images are explained one after the other. All targets of an image share its evaluations. `progress(done, total)`:
    called after each batch; counts the changes over all images of the call.
    """

    progress: Progress | None = None

    @abstractmethod
    def _probe(self, image: ImageLike, activations: PlacedActivations) -> Probe:
        """Try all changes of one image, or of its features; `activations` have one row per target."""

    @abstractmethod
    def _weigh_answers(self, activations: Activations, probe: Probe) -> FloatArray:
        """The raw maps, float32 (N, h, w), signed, before ReLU: one for each target of the image."""

    def for_targets(self, image: ImageLike, targets: Sequence[Target]) -> list[Explanation]:
        """One explanation of the image per target. All share the evaluations."""
        if not targets:
            return []
        placed = self._place(image, [self._aim(target) for target in targets])
        rows, maps, evaluations = [], [], 0
        for layer in self._layers():
            activations = observe_placed(self.engine, image, placed, layer, gradients=False)
            rows.append(activations)
            # Features with NaN or infinity give such a map; its status reports it, so no warning is needed.
            with np.errstate(invalid="ignore", over="ignore"):
                probe = self._probe(image, activations)
                maps.append(self._weigh_answers(activations, probe))
            evaluations += probe.evaluations
        with np.errstate(invalid="ignore", over="ignore"):
            explanations = self._explain_maps(rows, maps)
        return [replace(explanation, evaluations=evaluations) for explanation in explanations]

    def _explain_all(self, images: Sequence[ImageLike], targets: Sequence[Target]) -> list[Explanation]:
        # Check all targets before the first of many forward passes.
        for target in targets:
            self.check_target(target)
        explanations = []
        for position, (image, target) in enumerate(zip(images, targets, strict=True)):
            explainer = replace(self, progress=self._share_of_progress(position, len(images)))
            explanations += explainer.for_targets(image, [target])
        return explanations

    def _report(self, done: int, total: int) -> None:
        if self.progress is not None:
            self.progress(done, total)

    def _share_of_progress(self, position: int, count: int) -> Progress | None:
        """A progress callback for one image that reports progress over all `count` images."""
        report = self.progress
        return None if report is None else lambda done, total: report(position * total + done, count * total)
