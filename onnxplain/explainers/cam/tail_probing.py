"""Base of the methods that change a layer's features and run only the model's tail on them."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

import numpy as np

from onnxplain.errors import UnsupportedError
from onnxplain.explainers.aimed.observing import PlacedActivations
from onnxplain.explainers.aimed.placed_target import PlacedTarget, ReadHead, explained_columns
from onnxplain.explainers.cam.probing import Probe, ProbingExplainer
from onnxplain.explainers.needs import TAIL, Need
from onnxplain.explainers.passes import Passes
from onnxplain.runtime.arrays import FloatArray
from onnxplain.runtime.head_scores import head_scalars

if TYPE_CHECKING:
    from onnxplain.contract import LayerSpec
    from onnxplain.runtime.image import ImageLike


@dataclass(frozen=True)
class TailProbingExplainer(ProbingExplainer):
    """Base of the methods that use the tail file (`Engine.tail`): one backbone pass per image for all changes.

    Only the layer where the tail begins can be explained: the last one. Raises UnsupportedError for another layer and
    for a file without a tail, ModelError if the tail file is missing or belongs to another model.
    """

    needs: ClassVar[Need] = TAIL

    def __post_init__(self) -> None:
        super().__post_init__()
        begins_at = self.engine.tail.layer.name
        asked = ", ".join(layer.name for layer in self._layers())
        if asked != begins_at:
            raise UnsupportedError(
                f"{self.name}: found layer {asked}, expected {begins_at}, where the tail file begins: leave out the "
                "layer, or instrument again with that layer as the last one"
            )

    @property
    def passes(self) -> Passes | None:
        """See `Explainer`."""
        (layer,) = self._layers()
        return Passes(forward=1, tail=1 + self._count_changes(layer))

    @abstractmethod
    def _count_changes(self, layer: LayerSpec) -> int:
        """The number of changes."""

    @abstractmethod
    def _change(self, copies: FloatArray, features: FloatArray, start: int) -> None:
        """Write the changed features to `copies`, float32 (n, K, h, w): changes `start` … `start` + n − 1."""

    # What is read of the tail's outputs: the numbers that are differentiated, or the scores that are shown.
    read: ClassVar[ReadHead] = staticmethod(head_scalars)

    def _columns(self, placed: Sequence[PlacedTarget], features: FloatArray) -> FloatArray:
        """The explained number of each target, float32 (N, T), for features float32 (N, K, h, w)."""
        outputs = self.engine.tail.outputs(features)
        heads = self.engine.spec.heads
        named = {head.name: output for head, output in zip(heads, outputs, strict=True)}
        return explained_columns(placed, named, self.read)

    def _probe(self, image: ImageLike, activations: PlacedActivations) -> Probe:
        tail, features, placed = self.engine.tail, activations.features[0], activations.placed
        count = self._count_changes(activations.layer)
        reference = self._columns(placed, activations.features[:1])[0]
        answers = np.empty((count, len(placed)), np.float32)
        buffer = np.empty((min(tail.batch_size, count), *features.shape), np.float32)
        for start in range(0, count, len(buffer)):
            stop = min(start + len(buffer), count)
            copies = buffer[: stop - start]
            self._change(copies, features, start)
            answers[start:stop] = self._columns(placed, copies)
            self._report(stop, count)
        return Probe(answers, reference, evaluations=2 + count)
