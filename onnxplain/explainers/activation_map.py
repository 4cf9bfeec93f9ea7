"""The CAM family: weighted sums of a layer's feature maps. Each method is one function of the activations."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from onnxplain.explainers.explainer import Explainer, classify
from onnxplain.explainers.explanation import Explanation
from onnxplain.explainers.heatmap import FloatArray, relu_over_max
from onnxplain.explainers.regions import CAM_THRESHOLD
from onnxplain.explainers.registry import require
from onnxplain.runtime.results import Activations
from onnxplain.runtime.target import Target

if TYPE_CHECKING:
    from onnxplain.runtime.engine import Engine
    from onnxplain.runtime.image import ImageLike


@dataclass(frozen=True)
class ActivationMapExplainer(Explainer):
    """Base of the methods that read feature maps (and gradients) of one layer from the explainable graph.

    `layer`: a layer's name or a unique part of it; None: the last instrumented one. All images of a call go
    through the engine together. Raises UnsupportedError where the file lacks what the method needs (naming
    the methods that do work) and OnnxplainError for an unknown layer.
    """

    engine: Engine
    layer: str | None = None

    name: ClassVar[str]
    uses_gradients: ClassVar[bool] = True

    def __post_init__(self) -> None:
        require(self.name, self.engine)
        self.engine.resolve_layer(self.layer)

    @abstractmethod
    def _weigh(self, activations: Activations) -> FloatArray:
        """The raw maps, float32 (N, h, w), signed, before ReLU."""

    def _resolve_target(self, target: Target) -> int:
        """The output to explain as an index, −1 for the predicted class; a method may refuse some."""
        return self.engine.resolve_target(target)

    def _explain_all(self, images: Sequence[ImageLike], targets: Sequence[Target]) -> list[Explanation]:
        indices = [self._resolve_target(target) for target in targets]
        activations = self.engine.activations(images, indices, self.layer, gradients=self.uses_gradients)
        raws = self._weigh(activations)
        return [self._explanation(activations, position, raw) for position, raw in enumerate(raws)]

    def _explanation(self, activations: Activations, position: int, raw: FloatArray) -> Explanation:
        spec, frame = self.engine.spec, activations.frames[position]
        target = int(activations.target[position])
        prediction = classify(spec, activations.scores[position])
        explained_class = target if target < spec.classes else prediction.class_id
        heatmap, status = relu_over_max(raw, frame)
        return Explanation(
            heatmap=heatmap,
            raw=raw,
            status=status,
            method=self.name,
            target=target,
            target_name=self.engine.target_name(target),
            score=float(activations.scores[position, explained_class]),
            label=spec.label(explained_class),
            layer=activations.layer.name,
            frame=frame,
            evaluations=1,
            prediction=prediction,
            default_threshold=CAM_THRESHOLD,
        )
