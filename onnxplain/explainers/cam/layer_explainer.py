"""The base of all methods that look at a layer: which layer, which target, and a heatmap from a raw map."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from onnxplain.contract.arguments import check_fields
from onnxplain.errors import UnsupportedError
from onnxplain.explainers.aimed.describing import DescribedTarget, describe_row
from onnxplain.explainers.aimed.placed_target import PlacedTarget
from onnxplain.explainers.aimed.placing import Placer, check_aim, name_aim
from onnxplain.explainers.cam.layer_fusion import fuse_maps, resolve_layers
from onnxplain.explainers.explainer import Explainer
from onnxplain.explainers.explanation import Explanation
from onnxplain.explainers.heatmap import relu_over_max
from onnxplain.explainers.needs import LAYERS, PLAIN, Need
from onnxplain.explainers.passes import Passes
from onnxplain.explainers.regions import CAM_THRESHOLD
from onnxplain.explainers.registry import METHODS, require, supported
from onnxplain.runtime.arrays import FloatArray
from onnxplain.runtime.results import Activations
from onnxplain.runtime.target import ResolvedTarget, Target

if TYPE_CHECKING:
    from onnxplain.contract import LayerSpec, MapFrame
    from onnxplain.contract.heads import HeadKind
    from onnxplain.runtime.engine import Engine
    from onnxplain.runtime.geometry import Frame
    from onnxplain.runtime.image import ImageLike


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
    takes_aims: ClassVar[bool] = True
    # Whether the method explains −y (not:) and y − y' (against), and which kinds of heads it refuses, with the reason.
    combines: ClassVar[bool] = True
    refused_kinds: ClassVar[Mapping[HeadKind, str]] = {}

    def __post_init__(self) -> None:
        self.check_definition()
        check_fields(self)
        require(type(self), self.engine)
        if self.layer is not None and not isinstance(self.layer, str):
            object.__setattr__(self, "layer", tuple(self.layer))
        for layer in self._layers():
            if layer.size_hw == (1, 1):
                raise UnsupportedError(f"{self.name}: {self._describe_single_cell(layer)}")

    def check_target(self, target: Target) -> None:
        """Raise the OnnxplainError that a call would raise for this target. The model is not run."""
        self._aim(target)

    def _aim(self, target: Target) -> ResolvedTarget:
        """What is explained, before the model has run. A method may refuse some targets."""
        aim = self.engine.parse_target(target)
        name = name_aim(self.engine, aim)
        if aim.head.kind in self.refused_kinds:
            raise UnsupportedError(
                f"{self.name}: found target {name}, expected a class: {self.refused_kinds[aim.head.kind]}; "
                f"{_INSTEAD.get(aim.head.kind, 'use grad-cam')}"
            )
        check_aim(self.name, aim, name, combines=self.combines, uses_target=self.uses_target)
        return aim

    def _place(self, images: ImageLike | Sequence[ImageLike], aims: Sequence[ResolvedTarget]) -> list[PlacedTarget]:
        """The targets on their images: one per image, or all on a single image."""
        return Placer(self.engine, differentiated=self.differentiates).place_all(images, aims)

    @property
    def differentiates(self) -> bool:
        """Whether the method uses gradients."""
        return False

    def _layers(self) -> tuple[LayerSpec, ...]:
        """The layers asked for. The maps of several layers are fused."""
        return resolve_layers(self.engine.spec, self.layer)

    @property
    def _evaluations_per_layer(self) -> int:
        return 1

    def _evaluations(self, layer: LayerSpec) -> int:
        """Forward passes per image for one layer."""
        return self._evaluations_per_layer

    @property
    def passes(self) -> Passes | None:
        """See `Explainer`."""
        count = sum(map(self._evaluations, self._layers()))
        return Passes(gradient=count) if self.differentiates else Passes(forward=count)

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
        explained = describe_row(self.engine, activations, position)
        name = layer or activations.layer.name
        return self._described(explained, activations.frames[position], raw, name, map_frame)

    def _described(
        self, explained: DescribedTarget, frame: Frame, raw: FloatArray, layer: str, map_frame: MapFrame | None
    ) -> Explanation:
        heatmap, status = relu_over_max(raw, frame, map_frame)
        return Explanation(
            heatmap=heatmap,
            raw=raw,
            status=status,
            method=self.name,
            target=explained.target,
            target_name=explained.name,
            score=explained.score,
            label=explained.label,
            head=explained.head,
            answers=explained.answers,
            layer=layer,
            frame=frame,
            evaluations=sum(map(self._evaluations, self._layers())),
            prediction=explained.prediction,
            map_frame=map_frame,
            unit=self.unit,
            uses_target=self.uses_target,
            default_threshold=CAM_THRESHOLD,
            detection=explained.detection,
        )

    def _describe_single_cell(self, layer: LayerSpec) -> str:
        larger = [entry.name for entry in self.engine.spec.layers if entry.size_hw != (1, 1)]
        free = [name for name in supported(self.engine) if METHODS[name].needs in PLAIN]
        return (
            f"found layer {layer.name} with a single cell (1 × 1), expected several cells to show locations; "
            f"layers that work: {', '.join(larger) or 'none'}; methods that need no layer: {', '.join(free)}"
        )


_INSTEAD: Mapping[HeadKind, str] = {"box": "for a box coordinate use grad-cam"}
