"""Methods that change a layer's features and run the model's tail on them, never the backbone again."""

from __future__ import annotations

from abc import abstractmethod
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

import numpy as np

from onnxplain.errors import UnsupportedError
from onnxplain.explainers.cam.probing import Probe, ProbingExplainer
from onnxplain.explainers.needs import TAIL, Need
from onnxplain.runtime.arrays import FloatArray
from onnxplain.runtime.results import Activations

if TYPE_CHECKING:
    from onnxplain.contract import LayerSpec
    from onnxplain.runtime.image import ImageLike


@dataclass(frozen=True)
class TailProbingExplainer(ProbingExplainer):
    """Base of the methods on the tail file (`Engine.tail`): one backbone pass per image, however many changes.

    Only the layer that the tail begins at can be explained, the last one. Raises UnsupportedError for another layer and
    for a file that names no tail, ModelError where the tail file is missing or belongs to another model.
    """

    needs: ClassVar[Need] = TAIL

    def __post_init__(self) -> None:
        super().__post_init__()
        begins_at = self.engine.tail.layer.name
        asked = ", ".join(layer.name for layer in self._layers())
        if asked != begins_at:
            raise UnsupportedError(
                f"{self.name}: found layer {asked}, expected {begins_at}, the one that the tail file begins at: leave "
                "the layer out, or instrument with that layer as the last"
            )

    @abstractmethod
    def _count_changes(self, layer: LayerSpec) -> int:
        """How many changes there are."""

    @abstractmethod
    def _change(self, copies: FloatArray, features: FloatArray, start: int) -> None:
        """Write the features (K, h, w) under the changes from `start` on into `copies`, float32 (n, K, h, w)."""

    def _probe(self, image: ImageLike, activations: Activations) -> Probe:
        tail, features = self.engine.tail, activations.features[0]
        count = self._count_changes(activations.layer)
        reference = tail.answers(activations.features)[0]
        answers = np.empty((count, len(reference)), np.float32)
        buffer = np.empty((min(tail.batch_size, count), *features.shape), np.float32)
        for start in range(0, count, len(buffer)):
            stop = min(start + len(buffer), count)
            copies = buffer[: stop - start]
            self._change(copies, features, start)
            answers[start:stop] = tail.answers(copies)
            self._report(stop, count)
        return Probe(answers, reference, evaluations=2 + count)
