"""What an engine says about images: scores of batches, and answers and predictions of photos."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from onnxplain.contract import LayerSpec, ModelSpec
from onnxplain.errors import UnsupportedError
from onnxplain.runtime import head_scores
from onnxplain.runtime.answers import Answer, read_answers
from onnxplain.runtime.arrays import AnyArray, FloatArray
from onnxplain.runtime.box import Corners, decode_boxes, place_boxes
from onnxplain.runtime.detection.detector import refuse_detector
from onnxplain.runtime.heads.aims import check_reference, check_region
from onnxplain.runtime.image import ImageLike, list_images
from onnxplain.runtime.result_list import ResultList
from onnxplain.runtime.results import Batch, Prediction
from onnxplain.runtime.sessions.batches import Batches
from onnxplain.runtime.target import ResolvedTarget, Target, parse_target, resolve_layer, resolve_target, target_name


class Answering(ABC):
    """The part of an engine that reads the outputs of its heads.

    `spec`: the model. `source`: the file that the user named.
    """

    spec: ModelSpec
    source: Path
    _batches: Batches

    @abstractmethod
    def prepare(self, images: ImageLike | Iterable[ImageLike]) -> Batch:
        """Images as the model's input."""

    @abstractmethod
    def run(
        self,
        batch_nchw: FloatArray,
        output_names: Sequence[str],
        target: npt.NDArray[np.int64] | None = None,
        explain: str | Sequence[str] | None = None,
        *,
        reference: npt.ArrayLike | None = None,
        region: npt.ArrayLike | None = None,
        image_sizes_hw: npt.ArrayLike | None = None,
    ) -> list[AnyArray]:
        """The named outputs of the file."""

    def scores(self, batch_nchw: FloatArray) -> FloatArray:
        """The scores of the default head for a batch from `preprocess`, float32 (N, C): for classes their softmax.

        If the file has logits, the scores are their softmax: a softmax output in uint8 is 0 for unlikely classes.
        """
        return self.class_scores(self.run(batch_nchw, [self.class_output])[0])

    @property
    def class_output(self) -> str:
        """The output that the default head's scores come from: the logits if the file has them, else the scores.

        Raises UnsupportedError for a detector.
        """
        refuse_detector(self.spec, self.source)
        return head_scores.head_output(self.spec.head)

    def class_scores(self, class_output: AnyArray) -> FloatArray:
        """The scores of the default head, float32 (N, C), from the raw values of the output `class_output`."""
        return head_scores.head_scores(self.spec.head, class_output)

    @property
    def head_outputs(self) -> list[str]:
        """One output per head, in the order of ``spec.heads``: what `entry_scores` reads.

        Raises UnsupportedError for a detector.
        """
        refuse_detector(self.spec, self.source)
        return [head_scores.head_output(head) for head in self.spec.heads]

    def entry_scores(
        self,
        batch_nchw: FloatArray,
        reference: npt.ArrayLike | None = None,
        region: npt.ArrayLike | None = None,
    ) -> FloatArray:
        """The shown score of every target, float32 (N, T), for a batch from `preprocess`.

        The columns are the numbering of targets; `head_scores` says what each kind shows. `reference`: (N or 1, D),
        for embeddings; without it their cosine is NaN. `region`: (N or 1, 1, h, w), for masks; None: the whole mask.
        """
        count = len(batch_nchw)
        outputs = self.run(batch_nchw, self.head_outputs)
        checked = check_reference(self.spec, reference, count), check_region(self.spec, region, count)
        return head_scores.entry_scores(self.spec.heads, outputs, *checked)

    def answers(self, images: ImageLike | Iterable[ImageLike]) -> list[tuple[Answer, ...]]:
        """What the model answers: for each image one frozen value per head, in the order of ``spec.heads``."""
        answers: list[tuple[Answer, ...]] = []
        for batch, outputs in self._run_images(images, self.head_outputs):
            answers += read_answers(self.spec.heads, outputs, batch.frames)
        return answers

    def predict(self, images: ImageLike | Iterable[ImageLike]) -> list[Prediction]:
        """The class and box of each image. The box comes from the box head; it is None without a box head.

        Raises UnsupportedError for a model without a head of classes: use `answers`, or `detect` for a detector.
        """
        refuse_detector(self.spec, self.source)
        head = next((head for head in self.spec.heads if head.kind == "classes"), None)
        if head is None:
            kinds = ", ".join(f"{each.name} ({each.kind})" for each in self.spec.heads)
            raise UnsupportedError(
                f"{self.source}: found the heads {kinds}, expected one of classes for predict(): use answers()"
            )
        names = [head_scores.head_output(head), *([self.spec.outputs.box] if self.spec.outputs.box else [])]
        predictions = []
        for batch, outputs in self._run_images(images, names):
            boxes: list[Corners] | list[None] = [None] * len(batch.frames)
            if self.spec.box is not None:
                boxes = place_boxes(decode_boxes(outputs[1], self.spec.box, self.spec.input.size_hw), batch.frames)
            for scores, box in zip(head_scores.head_scores(head, outputs[0]), boxes, strict=True):
                predictions.append(Prediction.from_scores(scores, head.labels, box, None if box is None else "head"))
        return ResultList(predictions)

    def _run_images(
        self, images: ImageLike | Iterable[ImageLike], names: Sequence[str]
    ) -> Iterator[tuple[Batch, list[AnyArray]]]:
        """The named outputs for images, a batch at a time."""
        listed = list_images(images)
        for rows in self._batches.slices(len(listed)):
            batch = self.prepare(listed[rows])
            yield batch, self.run(batch.pixels, names, **self._beside(batch))

    def _beside(
        self, batch: Batch, reference: FloatArray | None = None, region: FloatArray | None = None
    ) -> dict[str, Any]:
        """What a run of a batch needs besides its pixels, as far as the model has such inputs."""
        sizes = batch.image_sizes_hw if self.spec.extra_inputs else None
        given = {"reference": reference, "region": region, "image_sizes_hw": sizes}
        return {name: value for name, value in given.items() if value is not None}

    def resolve_target(self, target: Target) -> int:
        """The index of a target: see `parse_target`; None is −1, the predicted class.

        Raises OnnxplainError for a target that needs more than an index.
        """
        return resolve_target(self.spec, target)

    def parse_target(self, target: Target, against: int | str | None = None) -> ResolvedTarget:
        """What a target means: its index, its sign, and what it is compared with; see the function of that name."""
        return parse_target(self.spec, target, against)

    def target_name(self, index: int) -> str:
        """The display name of a target: the class's label (its index without labels), ``box:0``, ``HEAD:LABEL`` …"""
        return target_name(self.spec, index)

    def resolve_layer(self, layer: str | None) -> LayerSpec:
        """The layer with that name, or the only layer whose name contains it. None: the last layer."""
        return resolve_layer(self.spec, layer)
