"""The base of the methods that also explain the boxes of a detector: cell by cell, so a map can show a single box."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, ClassVar

import numpy as np

from onnxplain.errors import OnnxplainError
from onnxplain.explainers.aimed.placed_detection import PlacedDetection, place_detections
from onnxplain.explainers.cam.activation_map import ActivationMapExplainer
from onnxplain.explainers.cam.layer_fusion import fuse_maps
from onnxplain.explainers.needs import LAYERS_OR_LEVELS, Need
from onnxplain.runtime.arrays import FloatArray
from onnxplain.runtime.detection.detection_target import DetectionTarget, parse_detection_target
from onnxplain.runtime.detection.detector import Detector
from onnxplain.runtime.results import Activations, Batch
from onnxplain.runtime.sessions.many_targets import spread_row, targets_at_once
from onnxplain.runtime.target import Target

if TYPE_CHECKING:
    from onnxplain.contract import LayerSpec
    from onnxplain.explainers.explanation import Explanation
    from onnxplain.runtime.image import ImageLike

# One finds the detections, one computes their gradients at all layers.
_PASSES = 2


@dataclass(frozen=True)
class BoxExplainer(ActivationMapExplainer):
    """Base of the methods that weigh each cell by its own gradient.

    Of a detector, the score of a detection, or a corner of its box in pixels, is explained. All layers are looked at
    unless `layer` names some: the maps of those that see the box are fused (`fuse_maps`). A layer does not see it where
    its whole gradient is zero.
    """

    needs: ClassVar[Need] = LAYERS_OR_LEVELS

    def check_target(self, target: Target) -> None:
        """Raise the OnnxplainError that a call would raise for this target. The model is not run."""
        if self.engine.detector is None:
            super().check_target(target)
        else:
            parse_detection_target(self.engine.spec, target)

    def for_targets(self, image: ImageLike, targets: Sequence[Target]) -> list[Explanation]:
        """One explanation of the image per target; of a detector with "all", one per detection.

        All detections take their gradients from the same forward pass: 32, or fewer if the layers' maps are large.
        """
        detector = self.engine.detector
        if detector is None:
            return super().for_targets(image, targets)
        asked = [parse_detection_target(self.engine.spec, target) for target in targets]
        batch = self.engine.prepare(image)
        columns = detector.read(detector.run(batch.pixels))[0]
        placed = place_detections(detector, columns, batch.frames[0], asked)
        size = targets_at_once(self._layers())
        parts = [placed[start : start + size] for start in range(0, len(placed), size)]
        return [each for part in parts for each in self._explain_part(detector, batch, part)]

    def _explain_all(self, images: Sequence[ImageLike], targets: Sequence[Target]) -> list[Explanation]:
        if self.engine.detector is None:
            return super()._explain_all(images, targets)
        aims = [parse_detection_target(self.engine.spec, target) for target in targets]
        if any(isinstance(aim, DetectionTarget) and aim.every for aim in aims):
            raise OnnxplainError("target: found all, expected one detection per image: use for_targets(image, ['all'])")
        return [self.for_targets(image, [target])[0] for image, target in zip(images, targets, strict=True)]

    def _layers(self) -> tuple[LayerSpec, ...]:
        if self.engine.detector is None or self.layer is not None:
            return super()._layers()
        return tuple(layer for layer in self.engine.spec.layers if layer.size_hw != (1, 1))

    def _explain_part(self, detector: Detector, batch: Batch, placed: Sequence[PlacedDetection]) -> list[Explanation]:
        seen = self._observe_boxes(batch, placed)
        maps = [self.weigh(activations) for activations in seen]
        return [self._explain_box(each, row, seen, maps) for row, each in enumerate(placed)]

    def _observe_boxes(self, batch: Batch, placed: Sequence[PlacedDetection]) -> list[Activations]:
        """The activations of each layer, with a row per detection of the single image."""
        layers, count = self._layers(), len(placed)
        targets = np.array([each.index for each in placed], np.int64)
        names = [name for layer in layers for name in (layer.features, layer.gradients)]
        explained = [layer.name for layer in layers]
        # As in `Detector.run`, an input for the size of the image is given that of the model's input.
        outputs = self.engine.run(batch.pixels, names, targets, explained)
        scores = np.array([[each.detection.score] for each in placed], np.float32)
        return [
            Activations(layer, spread_row(features, count), gradients, None, scores, targets, batch.frames * count)
            for layer, features, gradients in zip(layers, outputs[::2], outputs[1::2], strict=True)
        ]

    def _explain_box(
        self, placed: PlacedDetection, row: int, seen: Sequence[Activations], maps: Sequence[FloatArray]
    ) -> Explanation:
        """The explanation of one row of the activations."""
        pairs = [(each.layer, own[row : row + 1]) for each, own in zip(seen, maps, strict=True) if _sees(each, row)]
        pairs = pairs or [(seen[0].layer, maps[0][row : row + 1])]
        frames = [self._frame_of(layer, own) for layer, own in pairs]
        raw, frame = pairs[0][1], frames[0]
        if len(pairs) > 1:
            raw, frame = fuse_maps([own for _, own in pairs], frames, self.engine.spec.input.size_hw), None
        layers = ", ".join(layer.name for layer, _ in pairs)
        found = self._described(placed.described, seen[0].frames[row], raw[0], layers, frame)
        return replace(found, evaluations=_PASSES)


def _sees(activations: Activations, row: int) -> bool:
    """Whether a layer has any gradient for that row."""
    return activations.gradients is not None and bool(activations.gradients[row].any())
