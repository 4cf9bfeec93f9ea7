"""Gradient-free members of the CAM family: many changes of one image or of its features, and what each does."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from typing import TYPE_CHECKING, ClassVar

import numpy as np

from onnxplain.errors import OnnxplainError
from onnxplain.explainers.cam.activation_map import ActivationMapExplainer
from onnxplain.explainers.progress import Progress
from onnxplain.runtime.arrays import FloatArray
from onnxplain.runtime.results import Activations
from onnxplain.runtime.target import Target

if TYPE_CHECKING:
    from onnxplain.contract import LayerSpec
    from onnxplain.explainers.explanation import Explanation
    from onnxplain.runtime.image import ImageLike


@dataclass(frozen=True, eq=False)
class ProbedActivations(Activations):
    """The features of one image, and the model's answers to M changes, a column for each target.

    `answers` float32 (M, T); `reference` float32 (T,), what they are compared with; `evaluations`: forward passes, of
    the model or of its tail, that all this took.
    """

    answers: FloatArray
    reference: FloatArray
    evaluations: int

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.answers.ndim != 2 or self.reference.shape != self.answers.shape[1:]:
            raise OnnxplainError(
                f"answers: found shape {self.answers.shape} and a reference of {self.reference.shape}, expected "
                "(M, T) and (T,)"
            )

    @classmethod
    def of(
        cls, activations: Activations, answers: FloatArray, reference: FloatArray, *, evaluations: int
    ) -> ProbedActivations:
        """The activations with what was found by changing them."""
        seen = {field.name: getattr(activations, field.name) for field in fields(activations)}
        return cls(**seen, answers=answers, reference=reference, evaluations=evaluations)


@dataclass(frozen=True)
class ProbingExplainer(ActivationMapExplainer):
    """Base of the methods that need no gradient: they change something and look at the answers.

    Images are taken one after the other; all targets of an image share its evaluations. `progress(done, total)`: called
    after each batch with changes tried over all images of the call.
    """

    progress: Progress | None = None

    uses_gradients: ClassVar[bool] = False

    @abstractmethod
    def _probe(self, image: ImageLike, activations: Activations) -> ProbedActivations:
        """Try all changes of one image, or of its features, which `activations` holds."""

    def _observe(self, images: Sequence[ImageLike], targets: Sequence[int], layer: LayerSpec) -> Activations:
        (image,) = images
        activations = super()._observe(images, targets, layer)
        # Features that are not finite end in a map that is not, whose status says so.
        with np.errstate(invalid="ignore", over="ignore"):
            return self._probe(image, activations)

    def _explain_all(self, images: Sequence[ImageLike], targets: Sequence[Target]) -> list[Explanation]:
        # Every target is checked before the first of many forward passes.
        indices = [self._resolve_target(target) for target in targets]
        explanations = []
        for position, (image, index) in enumerate(zip(images, indices, strict=True)):
            explainer = replace(self, progress=self._share_of_progress(position, len(images)))
            explanations += explainer.for_targets(image, [index])
        return explanations

    def _explanations(self, seen: Sequence[Activations]) -> list[Explanation]:
        evaluations = sum(entry.evaluations for entry in seen if isinstance(entry, ProbedActivations))
        with np.errstate(invalid="ignore", over="ignore"):
            return [replace(explanation, evaluations=evaluations) for explanation in super()._explanations(seen)]

    def _report(self, done: int, total: int) -> None:
        if self.progress is not None:
            self.progress(done, total)

    def _share_of_progress(self, position: int, count: int) -> Progress | None:
        """The progress of one image among `count`, as that of the whole call."""
        report = self.progress
        return None if report is None else lambda done, total: report(position * total + done, count * total)


def probed(activations: Activations) -> ProbedActivations:
    """The activations with the answers that the base of these methods has added to them."""
    assert isinstance(activations, ProbedActivations)
    return activations
