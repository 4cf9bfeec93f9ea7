"""Finer-CAM (Zhang et al. 2025): evidence for a class compared with the most similar classes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, ClassVar

import numpy as np
import numpy.typing as npt

from onnxplain.errors import OnnxplainError, UnsupportedError
from onnxplain.explainers.aimed.observing import PlacedActivations
from onnxplain.explainers.aimed.placed_target import PlacedTarget
from onnxplain.explainers.cam.activation_map import require_gradients
from onnxplain.explainers.cam.grad_cam import GradCAM
from onnxplain.explainers.needs import COMPARABLE, Need, is_compared
from onnxplain.runtime.target import ResolvedTarget, Target

if TYPE_CHECKING:
    from onnxplain.contract import LayerSpec
    from onnxplain.contract.heads import HeadKind
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

    `raw` is float32 (h, w), signed: positive where there is more evidence for c than for the others. Only classes and
    labels are compared, and `against` is refused. Raises OnnxplainError for a strength below 0 and fewer than one
    reference.
    """

    references: int = 3
    strength: float = 0.6

    name: ClassVar[str] = "finer-cam"
    unit: ClassVar[str] = "gradient · activation"
    needs: ClassVar[Need] = COMPARABLE
    refused_kinds: ClassVar[Mapping[HeadKind, str]] = dict.fromkeys(
        ("box", "values", "embedding", "mask"), "it is compared with similar classes"
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.references < 1:
            raise OnnxplainError(f"references: found {self.references}, expected at least 1")
        if not 0 <= self.strength < np.inf:
            raise OnnxplainError(f"strength: found {self.strength}, expected a number from 0 up, usually 0.6 to 1")

    def _evaluations(self, layer: LayerSpec) -> int:
        return 2 if layer.many_targets else 1 + self._reference_count

    @property
    def _reference_count(self) -> int:
        return min(self.references, max(head.entries for head in self.engine.spec.heads if is_compared(head)) - 1)

    def _aim(self, target: Target) -> ResolvedTarget:
        aim = super()._aim(target)
        if aim.head.entries < 2:
            raise UnsupportedError(
                f"finer-cam: found the head {aim.head.name} with one entry, expected at least two to compare: use "
                "grad-cam"
            )
        if aim.against is not None:
            raise UnsupportedError(
                "finer-cam: found against, expected a target alone: the method chooses what it compares with; use "
                "grad-cam"
            )
        return aim

    def _takes_gradients(self, placed: Sequence[PlacedTarget], layer: LayerSpec) -> bool:
        return True

    def _observe(
        self, images: ImageLike | Sequence[ImageLike], placed: Sequence[PlacedTarget], layer: LayerSpec
    ) -> PlacedActivations:
        activations = super()._observe(images, placed, layer)
        contrast = require_gradients(activations).copy()
        similar = [find_similar_entries(activations, row, self.references) for row in range(len(placed))]
        pixels = self.engine.prepare(images).pixels
        # The rows of each image: one, or one per target of a single image.
        for rows in [range(len(placed))] if len(pixels) == 1 else [[row] for row in range(len(pixels))]:
            entries = np.unique(np.concatenate([similar[row] for row in rows]))
            (gradients,) = self.engine.run(pixels[rows[0] : rows[0] + 1], [layer.gradients], entries, layer.name)
            for row in rows:
                share = np.float32(placed[row].sign * self.strength / len(similar[row]))
                for place in np.searchsorted(entries, similar[row]):
                    contrast[row] -= share * gradients[place]
        return replace(activations, gradients=contrast)


def find_similar_entries(activations: PlacedActivations, row: int, count: int) -> npt.NDArray[np.int64]:
    """The `count` other entries of the target's head whose logits are nearest to its own, as targets, int64 (count,).

    All others where there are fewer. Ties are ordered by index.
    """
    placed = activations.placed[row]
    if placed.head.logits is None or activations.entries is None:
        raise UnsupportedError("finer-cam: found a file without logits, expected a logits output: use grad-cam")
    logits = activations.entries[row, placed.first : placed.first + placed.head.entries]
    distances = np.abs(logits - logits[placed.entry])
    distances[placed.entry] = np.inf
    return placed.first + np.argsort(distances, kind="stable")[: min(count, placed.head.entries - 1)]
