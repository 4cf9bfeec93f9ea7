"""The base of the CAM family: maps from a layer's features and gradients. Each method is one function of these."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from onnxplain.errors import OnnxplainError
from onnxplain.explainers.aimed.observing import PlacedActivations, observe_placed
from onnxplain.explainers.aimed.placed_target import PlacedTarget
from onnxplain.explainers.cam.layer_explainer import LayerExplainer
from onnxplain.machine.small_products import small_product
from onnxplain.runtime.arrays import FloatArray
from onnxplain.runtime.results import Activations
from onnxplain.runtime.sessions.many_targets import targets_at_once
from onnxplain.runtime.target import Target

if TYPE_CHECKING:
    from onnxplain.contract import LayerSpec
    from onnxplain.explainers.explanation import Explanation
    from onnxplain.runtime.image import ImageLike


@dataclass(frozen=True)
class ActivationMapExplainer(LayerExplainer):
    """Base of the methods that compute a map from feature maps (and gradients) of the explainable graph.

    `layer`: a layer's name or a unique part of it; None: the last instrumented layer; the maps of a list of layers, or
    of "all", are fused into one. All images of a call go through the engine together. Raises UnsupportedError if the
    file lacks what the method needs and for a layer of a single cell, OnnxplainError for an unknown layer.

    To write a method of your own, subclass this with a `name` and `weigh`. Set `uses_gradients` to False if it needs no
    gradients. Options are dataclass fields: decorate the subclass with ``@dataclass(frozen=True)``.
    """

    uses_gradients: ClassVar[bool] = True

    def __init_subclass__(cls, **arguments: Any) -> None:
        """Make `weigh` and `_weigh`, its former name, the same method: a subclass may define either."""
        super().__init_subclass__(**arguments)
        names = {"weigh", "_weigh"}
        nearest = next(vars(base) for base in cls.__mro__ if names & vars(base).keys())
        for missing in names - nearest.keys():
            (defined,) = names - {missing}
            setattr(cls, missing, nearest[defined])
        if "combines" not in vars(cls) and "uses_gradients" in vars(cls):
            # Combined gradients are those of −y and of a difference; without gradients, a method must say that it can.
            cls.combines = cls.uses_gradients

    @classmethod
    def check_definition(cls) -> None:
        """Raise OnnxplainError for a class without a name, or without `weigh`."""
        super().check_definition()
        if cls.weigh is ActivationMapExplainer.weigh:
            raise OnnxplainError(
                f"{cls.__name__}: found no method weigh(activations), expected one: define it in the class"
            )

    def weigh(self, activations: Activations) -> FloatArray:
        """The raw maps, float32 (N, h, w), signed, before ReLU, from features (and gradients) float32 (N, K, h, w).

        This is the formula of the method. Every subclass defines its own.
        """
        raise NotImplementedError

    @property
    def differentiates(self) -> bool:
        """Whether the method uses gradients."""
        return self.uses_gradients

    def _observe(
        self, images: ImageLike | Sequence[ImageLike], placed: Sequence[PlacedTarget], layer: LayerSpec
    ) -> PlacedActivations:
        """The activations of a layer for the method: one row per image, or one per target of a single image."""
        return observe_placed(self.engine, images, placed, layer, gradients=self._takes_gradients(placed, layer))

    def _takes_gradients(self, placed: Sequence[PlacedTarget], layer: LayerSpec) -> bool:
        """Whether the method needs the gradients of these targets with respect to that layer."""
        return self.uses_gradients

    def for_targets(self, image: ImageLike, targets: Sequence[Target]) -> list[Explanation]:
        """One explanation of the image per target, all from one forward pass per layer.

        With gradients, 32 targets share a pass, or fewer if the layer's maps are large. For a layer without
        `many_targets` the image then runs once per target.
        """
        layers, aims = self._layers(), [self._aim(target) for target in targets]
        if not aims:
            return []
        placed = self._place(image, aims)
        size = len(placed)
        if any(self._takes_gradients(placed, layer) for layer in layers):
            size = targets_at_once(layers)
        explanations = []
        for start in range(0, len(placed), size):
            part = placed[start : start + size]
            explanations += self._explanations([self._observe(image, part, layer) for layer in layers])
        return explanations

    def _explain_all(self, images: Sequence[ImageLike], targets: Sequence[Target]) -> list[Explanation]:
        aims = [self._aim(target) for target in targets]
        if len(images) > 1 and any(aim.against is not None for aim in aims):
            # Only a single image has both gradients of a difference from one forward pass.
            return [self.for_targets(image, [target])[0] for image, target in zip(images, targets, strict=True)]
        placed = self._place(images, aims)
        one_image = images[0] if len(images) == 1 else images
        return self._explanations([self._observe(one_image, placed, layer) for layer in self._layers()])

    def _explanations(self, seen: Sequence[Activations]) -> list[Explanation]:
        """One explanation per row of the activations. `seen` has one entry per layer."""
        return self._explain_maps(seen, [self.weigh(activations) for activations in seen])


def weighted_sum(weights_nk: FloatArray, features_nkhw: FloatArray) -> FloatArray:
    """``M = Σ_k w_k A_k`` for each image: float32 (N, K) and (N, K, h, w) → float32 (N, h, w)."""
    count, channels, height, width = features_nkhw.shape
    # One product per image, so that features shared by all rows (a broadcast array) are not copied.
    maps = small_product(weights_nk[:, None, :], features_nkhw.reshape(count, channels, height * width))
    return maps.reshape(count, height, width).astype(np.float32, copy=False)


def require_gradients(activations: Activations) -> FloatArray:
    """The gradients, float32 (N, K, h, w). Raises OnnxplainError if they were not computed."""
    if activations.gradients is None:
        raise OnnxplainError(f"layer {activations.layer.name}: found no gradients, expected them: use gradients=True")
    return activations.gradients
