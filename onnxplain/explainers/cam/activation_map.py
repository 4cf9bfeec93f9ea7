"""The CAM family: maps made of a layer's features and gradients. Each method is one function of the activations."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from onnxplain.errors import OnnxplainError, UnsupportedError
from onnxplain.explainers.cam.layer_fusion import fuse_maps, resolve_layers
from onnxplain.explainers.explainer import Explainer
from onnxplain.explainers.explanation import Explanation
from onnxplain.explainers.heatmap import relu_over_max
from onnxplain.explainers.needs import LAYERS, SCORES, Need
from onnxplain.explainers.regions import CAM_THRESHOLD
from onnxplain.explainers.registry import METHODS, require, supported
from onnxplain.runtime.arrays import FloatArray
from onnxplain.runtime.results import Activations, Prediction
from onnxplain.runtime.target import PREDICTED_CLASS, Target

if TYPE_CHECKING:
    from onnxplain.contract import LayerSpec, MapFrame
    from onnxplain.runtime.engine import Engine
    from onnxplain.runtime.image import ImageLike


@dataclass(frozen=True)
class ActivationMapExplainer(Explainer):
    """Base of the methods that read feature maps (and gradients) from the explainable graph.

    `layer`: a layer's name or a unique part of it; None: the last instrumented one. A list of layers, or "all", gives
    one map fused from theirs (`fuse_maps`), for one forward pass per layer. All images of a call go through the engine
    together. Raises UnsupportedError where the file lacks what the method needs (naming the methods that do work) and
    for a layer of a single cell, OnnxplainError for an unknown layer.

    A method of your own is a subclass with a `name` and `weigh`; `uses_gradients` False spares it the gradients.
    Options are dataclass fields: decorate the subclass with ``@dataclass(frozen=True)``.
    """

    engine: Engine
    layer: str | Sequence[str] | None = None

    needs: ClassVar[Need] = LAYERS
    uses_gradients: ClassVar[bool] = True

    def __init_subclass__(cls, **arguments: Any) -> None:
        """Make `weigh` and `_weigh`, its former name, one hook: a subclass may define either."""
        super().__init_subclass__(**arguments)
        names = {"weigh", "_weigh"}
        nearest = next(vars(base) for base in cls.__mro__ if names & vars(base).keys())
        for missing in names - nearest.keys():
            (defined,) = names - {missing}
            setattr(cls, missing, nearest[defined])

    def __post_init__(self) -> None:
        self.check_definition()
        require(type(self), self.engine)
        if self.layer is not None and not isinstance(self.layer, str):
            object.__setattr__(self, "layer", tuple(self.layer))
        for layer in self._layers():
            if layer.size_hw == (1, 1):
                raise UnsupportedError(f"{self.name}: {self._describe_single_cell(layer)}")

    @classmethod
    def check_definition(cls) -> None:
        """Raise OnnxplainError for a class without a name, or without `weigh`."""
        super().check_definition()
        if cls.weigh is ActivationMapExplainer.weigh:
            raise OnnxplainError(f"{cls.__name__}: found no weigh(activations), expected it: define it in the class")

    def weigh(self, activations: Activations) -> FloatArray:
        """The raw maps, float32 (N, h, w), signed, before ReLU, of features (and gradients) float32 (N, K, h, w).

        This is the formula of a method; every subclass has its own.
        """
        raise NotImplementedError

    def check_target(self, target: Target) -> None:
        """Raise the OnnxplainError with which a call refuses this target; the model is not run."""
        self._resolve_target(target)

    def _observe(self, images: Sequence[ImageLike], targets: Sequence[int], layer: LayerSpec) -> Activations:
        """What the method sees of a layer, one row per image; `targets` are indices, −1 for the predicted class."""
        return self.engine.activations(images, targets, layer.name, gradients=self._takes_gradients(targets, layer))

    def _takes_gradients(self, targets: Sequence[int], layer: LayerSpec) -> bool:
        """Whether the method has to see the gradients of these targets by that layer."""
        return self.uses_gradients

    def _resolve_target(self, target: Target) -> int:
        """The output to explain as an index, −1 for the predicted class; a method may refuse some."""
        return self.engine.resolve_target(target)

    def _layers(self) -> tuple[LayerSpec, ...]:
        """The layers asked for; the maps of several are fused."""
        return resolve_layers(self.engine.spec, self.layer)

    @property
    def _evaluations_per_layer(self) -> int:
        return 1

    def for_targets(self, image: ImageLike, targets: Sequence[Target]) -> list[Explanation]:
        """One explanation of the image per target; without gradients all come from one forward pass per layer.

        A gradient belongs to one target: with them the image runs once per target, in batches.
        """
        if not targets:
            return []
        indices = [self._resolve_target(target) for target in targets]
        if any(self._takes_gradients(indices, layer) for layer in self._layers()):
            return super().for_targets(image, targets)
        seen = [self._observe([image], [PREDICTED_CLASS], layer) for layer in self._layers()]
        return self._explanations([repeat_row(activations, indices) for activations in seen])

    def _explain_all(self, images: Sequence[ImageLike], targets: Sequence[Target]) -> list[Explanation]:
        indices = [self._resolve_target(target) for target in targets]
        return self._explanations([self._observe(images, indices, layer) for layer in self._layers()])

    def _explanations(self, seen: Sequence[Activations]) -> list[Explanation]:
        """One explanation per row of the activations, of which there is one entry per layer."""
        return self._explain_maps(seen, [self.weigh(activations) for activations in seen])

    def _explain_maps(self, seen: Sequence[Activations], maps_per_layer: Sequence[FloatArray]) -> list[Explanation]:
        """One explanation per row of the raw maps, float32 (N, h, w) for each layer."""
        frames = [
            self._frame_of(activations.layer, maps) for activations, maps in zip(seen, maps_per_layer, strict=True)
        ]
        if len(seen) == 1:
            raws, map_frame = maps_per_layer[0], frames[0]
        else:
            # The fused map is spread over the whole input.
            raws, map_frame = fuse_maps(maps_per_layer, frames, self.engine.spec.input.size_hw), None
        layers = ", ".join(activations.layer.name for activations in seen)
        return [self._explanation(seen[0], position, raw, layers, map_frame) for position, raw in enumerate(raws)]

    def _frame_of(self, layer: LayerSpec, maps_nhw: FloatArray) -> MapFrame | None:
        """Where the layer's maps lie; maps of another size than its own are spread over the whole input."""
        return self.engine.spec.frame_of(layer) if maps_nhw.shape[1:] == layer.size_hw else None

    def _explanation(
        self,
        activations: Activations,
        position: int,
        raw: FloatArray,
        layer: str | None = None,
        map_frame: MapFrame | None = None,
    ) -> Explanation:
        spec, frame = self.engine.spec, activations.frames[position]
        target = int(activations.target[position])
        prediction = Prediction.from_scores(activations.scores[position], spec.labels)
        explained_class = target if target < spec.classes else prediction.class_id
        heatmap, status = relu_over_max(raw, frame, map_frame)
        return Explanation(
            heatmap=heatmap,
            raw=raw,
            status=status,
            method=self.name,
            target=target,
            target_name=self.engine.target_name(target),
            score=float(activations.scores[position, explained_class]),
            label=spec.label(explained_class),
            layer=layer or activations.layer.name,
            frame=frame,
            evaluations=self._evaluations_per_layer * len(self._layers()),
            prediction=prediction,
            map_frame=map_frame,
            default_threshold=CAM_THRESHOLD,
        )

    def _describe_single_cell(self, layer: LayerSpec) -> str:
        larger = [entry.name for entry in self.engine.spec.layers if entry.size_hw != (1, 1)]
        free = [name for name in supported(self.engine) if METHODS[name].needs is SCORES]
        return (
            f"found layer {layer.name} of 1 × 1, expected several cells, since one says nothing about where; "
            f"layers that work: {', '.join(larger) or 'none'}; methods that need none: {', '.join(free)}"
        )


def weighted_sum(weights_nk: FloatArray, features_nkhw: FloatArray) -> FloatArray:
    """``M = Σ_k w_k A_k`` for each image: float32 (N, K) and (N, K, h, w) → float32 (N, h, w)."""
    count, channels, height, width = features_nkhw.shape
    # One product per image: features that all rows share stay one array.
    maps = weights_nk[:, None, :] @ features_nkhw.reshape(count, channels, height * width)
    return maps.reshape(count, height, width).astype(np.float32, copy=False)


def require_gradients(activations: Activations) -> FloatArray:
    """The gradients, float32 (N, K, h, w). Raises OnnxplainError where they were not asked for."""
    if activations.gradients is None:
        raise OnnxplainError(f"layer {activations.layer.name}: found no gradients, expected them: ask for gradients")
    return activations.gradients


def require_class(explainer: ActivationMapExplainer, index: int, reason: str) -> int:
    """The index of a class. Raises UnsupportedError, with the method's reason, for a box coordinate."""
    if index >= explainer.engine.spec.classes:
        raise UnsupportedError(
            f"{explainer.name}: found target {explainer.engine.target_name(index)}, expected a class: {reason}; for a "
            "box coordinate use grad-cam"
        )
    return index


def repeat_row(activations: Activations, targets: Sequence[int]) -> Activations:
    """One row of activations, without gradients, for several targets; nothing is copied."""
    predicted, rows, logits = int(activations.target[0]), len(targets), activations.logits
    return replace(
        activations,
        features=np.broadcast_to(activations.features, (rows, *activations.features.shape[1:])),
        logits=None if logits is None else np.broadcast_to(logits, (rows, logits.shape[1])),
        scores=np.broadcast_to(activations.scores, (rows, activations.scores.shape[1])),
        target=np.array([predicted if target == PREDICTED_CLASS else target for target in targets], np.int64),
        frames=activations.frames * rows,
    )
