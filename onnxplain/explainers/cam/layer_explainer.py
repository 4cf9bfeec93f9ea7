"""The base of all methods that look at a layer: which layer, which target, and a heatmap from a raw map."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, ClassVar

import numpy as np

from onnxplain.errors import UnsupportedError
from onnxplain.explainers.cam.layer_fusion import fuse_maps, resolve_layers
from onnxplain.explainers.explainer import Explainer
from onnxplain.explainers.explanation import Explanation
from onnxplain.explainers.heatmap import relu_over_max
from onnxplain.explainers.needs import LAYERS, PLAIN, Need
from onnxplain.explainers.regions import CAM_THRESHOLD
from onnxplain.explainers.registry import METHODS, require, supported
from onnxplain.runtime.arrays import FloatArray
from onnxplain.runtime.results import Activations, Prediction
from onnxplain.runtime.target import PREDICTED_CLASS, Target

if TYPE_CHECKING:
    from onnxplain.contract import LayerSpec, MapFrame
    from onnxplain.runtime.engine import Engine


@dataclass(frozen=True)
class LayerExplainer(Explainer):
    """Base of the methods that look at instrumented layers.

    `layer`: a layer's name or a unique part of it; None: the last instrumented layer. For a list of layers, or "all",
    the maps of the layers are fused into one (`fuse_maps`), with one forward pass per layer. Raises UnsupportedError if
    the file lacks what the method needs (the message lists the methods that work) and for a layer of a single cell,
    OnnxplainError for an unknown layer.
    """

    engine: Engine
    layer: str | Sequence[str] | None = None

    needs: ClassVar[Need] = LAYERS

    def __post_init__(self) -> None:
        self.check_definition()
        require(type(self), self.engine)
        if self.layer is not None and not isinstance(self.layer, str):
            object.__setattr__(self, "layer", tuple(self.layer))
        for layer in self._layers():
            if layer.size_hw == (1, 1):
                raise UnsupportedError(f"{self.name}: {self._describe_single_cell(layer)}")

    def check_target(self, target: Target) -> None:
        """Raise the OnnxplainError that a call would raise for this target. The model is not run."""
        self._resolve_target(target)

    def _resolve_target(self, target: Target) -> int:
        """The output to explain as an index; −1: the predicted class. A method may refuse some targets."""
        return self.engine.resolve_target(target)

    def _layers(self) -> tuple[LayerSpec, ...]:
        """The layers asked for. The maps of several layers are fused."""
        return resolve_layers(self.engine.spec, self.layer)

    @property
    def _evaluations_per_layer(self) -> int:
        return 1

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
        free = [name for name in supported(self.engine) if METHODS[name].needs in PLAIN]
        return (
            f"found layer {layer.name} with a single cell (1 × 1), expected several cells to show locations; "
            f"layers that work: {', '.join(larger) or 'none'}; methods that need no layer: {', '.join(free)}"
        )


def require_class(explainer: LayerExplainer, index: int, reason: str) -> int:
    """The index, if it is a class. Raises UnsupportedError, with the method's reason, for a box coordinate."""
    if index >= explainer.engine.spec.classes:
        raise UnsupportedError(
            f"{explainer.name}: found target {explainer.engine.target_name(index)}, expected a class: {reason}; "
            "for a box coordinate use grad-cam"
        )
    return index


def repeat_row(activations: Activations, targets: Sequence[int]) -> Activations:
    """Repeat one row of activations, without gradients, for several targets. No array is copied."""
    predicted, rows, logits = int(activations.target[0]), len(targets), activations.logits
    return replace(
        activations,
        features=np.broadcast_to(activations.features, (rows, *activations.features.shape[1:])),
        logits=None if logits is None else np.broadcast_to(logits, (rows, logits.shape[1])),
        scores=np.broadcast_to(activations.scores, (rows, activations.scores.shape[1])),
        target=np.array([predicted if target == PREDICTED_CLASS else target for target in targets], np.int64),
        frames=activations.frames * rows,
    )
