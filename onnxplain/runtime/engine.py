"""One ONNX file, loaded once: images in; scores, predictions, feature maps and gradients out."""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from onnxplain.contract import LayerSpec, Layout, ModelSpec, Preprocessing, PreprocessingParts, batched, is_batched
from onnxplain.runtime.arrays import AnyArray, FloatArray
from onnxplain.runtime.batch_size import open_search
from onnxplain.runtime.batches import IMAGES_AT_ONCE, Batches
from onnxplain.runtime.binding import BoundSession
from onnxplain.runtime.box import Corners, decode_boxes, place_boxes
from onnxplain.runtime.cam_weights import read_cam_weights
from onnxplain.runtime.feed import Feed
from onnxplain.runtime.geometry import make_frame
from onnxplain.runtime.image import DEFAULT_MAX_MEGAPIXELS, ImageLike, list_images
from onnxplain.runtime.pixels import read_pixels
from onnxplain.runtime.precision import Precision
from onnxplain.runtime.preprocess import normalise, warp_image
from onnxplain.runtime.results import Activations, Batch, Prediction
from onnxplain.runtime.scores import as_rows, probabilities, softmax
from onnxplain.runtime.session import open_session, run_session, with_batch_axis
from onnxplain.runtime.spec import Stated, read_spec
from onnxplain.runtime.tail import Tail, open_tail
from onnxplain.runtime.target import (
    PREDICTED_CLASS,
    Target,
    resolve_layer,
    resolve_target,
    resolve_targets,
    target_name,
)


class Engine:
    """An image classifier or localizer in an ONNX file, ready to run.

    `providers` are names such as ``cpu``, ``cuda`` or ``CUDAExecutionProvider``, by default CUDA where ONNX
    Runtime has it, then the CPU; `threads` limits the threads of one run; `precision` ``"bfloat16"`` makes a provider
    that offers it compute in it (`apply_precision`). A file that `onnxplain instrument`
    or `export` wrote says everything about itself. For any other, `preprocessing`, `input_size_hw`, `layout`
    and `labels` state it, and what is not stated is assumed (``engine.spec.input.origins``): such a file
    predicts and can be explained by black-box methods. `preprocessing` is whole, or some `PreprocessingParts`; those of
    an explainable file are replaced by what is stated. Every image argument is a path, a PIL image or a uint8
    RGB array (H, W, 3), or any iterable of them; `read_pixels` says what else is read for models of other channels or
    values. Raises ModelError for a file that cannot be used, OnnxplainError for an unknown provider or a precision that
    it does not offer. An engine holds no state between calls and may be shared by threads.
    """

    def __init__(
        self,
        model: str | os.PathLike[str],
        providers: Sequence[str] | None = None,
        threads: int | None = None,
        *,
        precision: Precision = "float32",
        preprocessing: Preprocessing | PreprocessingParts | None = None,
        input_size_hw: tuple[int, int] | None = None,
        layout: Layout | None = None,
        labels: Sequence[str] | None = None,
    ) -> None:
        self.path = Path(model)
        self._providers, self._threads, self.precision = providers, threads, precision
        self._session = open_session(self.path, providers, threads, precision)
        stated = Stated(preprocessing, input_size_hw, layout, labels)
        self.spec: ModelSpec
        self.spec, self._input = read_spec(self._session, self.path, stated)
        self._feed = Feed(self._session, self.path, self.spec, self._input)
        self._batches = Batches(self.fixed_batch, IMAGES_AT_ONCE)
        # RISE's search for the fastest batch goes on from image to image; it changes no result.
        self.batch_size_search = open_search(self.providers, self.fixed_batch)

    @property
    def providers(self) -> tuple[str, ...]:
        """ONNX Runtime's names of the execution providers in use, the preferred one first."""
        return tuple(self._session.get_providers())

    @property
    def fixed_batch(self) -> int | None:
        """The batch size that the graph fixes; None where it takes any."""
        return self._input.batch

    @property
    def input_dtype(self) -> np.dtype[Any]:
        """The type in which the graph takes images: float32, float16, float64, uint8 or int8."""
        return np.dtype(self._input.dtype)

    @property
    def input_layout(self) -> Layout:
        """The order of axes of a batch of images: ``nchw`` or ``nhwc``, also where the graph has no batch axis."""
        return batched(self.spec.input.layout)

    def read(self, image: ImageLike, max_megapixels: float = DEFAULT_MAX_MEGAPIXELS) -> AnyArray:
        """The pixels (H, W, C) that the model's preprocessing starts from: see `read_pixels`."""
        return read_pixels(image, self.spec.input.preprocessing, max_megapixels)

    def prepare(self, images: ImageLike | Iterable[ImageLike]) -> Batch:
        """Images read, warped to the model's input and normalised, with the way back to each original."""
        originals = tuple(self.read(image) for image in list_images(images))
        size_hw, preprocessing = self.spec.input.size_hw, self.spec.input.preprocessing
        frames = tuple(
            make_frame((image.shape[0], image.shape[1]), size_hw, preprocessing.resize) for image in originals
        )
        warped = [warp_image(image, frame) for image, frame in zip(originals, frames, strict=True)]
        return Batch(normalise(np.stack(warped), preprocessing), frames, originals)

    def preprocess(self, images: ImageLike | Iterable[ImageLike]) -> FloatArray:
        """Images as the model sees them: float32 (N, C, H, W), normalised, in any layout of the file."""
        return self.prepare(images).pixels

    def scores(self, batch_nchw: FloatArray) -> FloatArray:
        """Softmax scores float32 (N, C) of a batch as `preprocess` makes it: all that a black box shows.

        The softmax of the logits where the file has them: a softmax in uint8 reads 0 for rare classes.
        """
        return self.class_scores(self.run(batch_nchw, [self.class_output])[0])

    @property
    def class_output(self) -> str:
        """The output that scores are made of: the logits where the file has them."""
        return str(self.spec.outputs.logits or self.spec.outputs.scores)

    def class_scores(self, class_output: AnyArray) -> FloatArray:
        """Softmax scores float32 (N, C) of that output, as the file gives it."""
        return softmax(as_rows(class_output)) if self.spec.outputs.logits else probabilities(class_output)

    def bind(self, output_names: Sequence[str]) -> BoundSession:
        """The session with its outputs bound; the gates are closed, no gradient is computed.

        What is left to bind before a run is the image input, `spec.input.name`: see `BoundSession`.
        """
        unbatched = None if is_batched(self.spec.input.layout) else self._input.name
        bound = BoundSession(self._session, self.path, output_names, unbatched=unbatched)
        for name, value in self._feed.closed_controls().items():
            bound.bind(name, value)
        return bound

    def input_buffer(self, count: int) -> AnyArray:
        """Zeros for `count` images in the graph's own layout and type."""
        return self._feed.buffer(count)

    def run(
        self,
        batch_nchw: FloatArray,
        output_names: Sequence[str],
        target: npt.NDArray[np.int64] | None = None,
        explain: str | None = None,
    ) -> list[AnyArray]:
        """Outputs by name for a batch float32 (N, C, H, W), as the file gives them, image after image.

        `target` int64 (N,) is the scalar to differentiate per image (-1, the default: the predicted class),
        `explain` the layer whose gradients are computed, by default none. At most 8 images run at a time; a
        batch size that the graph fixes is kept, the last batch padded and its padding dropped. Raises
        OnnxplainError for another shape or a target that does not exist.
        """
        targets = self._feed.check(batch_nchw, target)
        layer = None if explain is None else self.resolve_layer(explain)

        def compute(part_nchw: FloatArray, part_targets: npt.NDArray[np.int64]) -> list[AnyArray]:
            inputs = self._feed.arrays(part_nchw, part_targets, layer)
            outputs = run_session(self._session, self.path, output_names, inputs)
            return outputs if is_batched(self.spec.input.layout) else [with_batch_axis(output) for output in outputs]

        return self._batches.run(compute, batch_nchw, targets)

    def predict(self, images: ImageLike | Iterable[ImageLike]) -> list[Prediction]:
        """What each image shows, and where: the box is the box head's, None where there is no such head."""
        predictions = []
        box_output = self.spec.outputs.box
        listed = list_images(images)
        for rows in self._batches.slices(len(listed)):
            batch = self.prepare(listed[rows])
            names = [self.class_output, *([box_output] if box_output else [])]
            outputs = self.run(batch.pixels, names)
            boxes: list[Corners] | list[None] = [None] * len(batch.frames)
            if self.spec.box is not None:
                boxes = place_boxes(decode_boxes(outputs[1], self.spec.box, self.spec.input.size_hw), batch.frames)
            for scores, box in zip(self.class_scores(outputs[0]), boxes, strict=True):
                predictions.append(
                    Prediction.from_scores(scores, self.spec.labels, box, None if box is None else "head")
                )
        return predictions

    def activations(
        self,
        images: ImageLike | Iterable[ImageLike],
        target: Target | Sequence[Target] = None,
        layer: str | None = None,
        *,
        gradients: bool = True,
    ) -> Activations:
        """Feature maps of a layer (by default the last) and the gradients of one target per image.

        `target`: one for all images or a list with one per image, each as `resolve_target` takes it. Raises
        UnsupportedError for a file without instrumented layers.
        """
        chosen = self.resolve_layer(layer)
        batch = self.prepare(images)
        targets = resolve_targets(self.spec, target, len(batch.frames))
        names = [self.class_output, chosen.features, *([chosen.gradients] if gradients else [])]
        outputs = self.run(batch.pixels, names, targets, chosen.name if gradients else None)
        rows = as_rows(outputs[0])
        return Activations(
            layer=chosen,
            features=outputs[1],
            gradients=outputs[2] if gradients else None,
            logits=rows if self.spec.outputs.logits else None,
            scores=self.class_scores(outputs[0]),
            target=np.where(targets == PREDICTED_CLASS, rows.argmax(axis=1), targets),
            frames=batch.frames,
        )

    def cam_weights(self) -> FloatArray:
        """The weights float32 (C, K) of the class activation map. UnsupportedError where there are none."""
        return self._cam_weights

    @cached_property
    def tail(self) -> Tail:
        """What lies behind the last layer, from the file beside the model; opened when it is first asked for.

        Raises ModelError where the model has none, and where the file is missing or another model's.
        """
        return open_tail(self.path, self.spec, self._providers, self._threads, self.precision)

    def resolve_target(self, target: Target) -> int:
        """The index of a target: a label, an index, ``box:0`` … ``box:3``, or None for -1, the prediction."""
        return resolve_target(self.spec, target)

    def target_name(self, index: int) -> str:
        """How a target is shown: the class's label (its index without labels), or ``box:0`` … ``box:3``."""
        return target_name(self.spec, index)

    def resolve_layer(self, layer: str | None) -> LayerSpec:
        """The layer of that name, or of which it is a part that no other shares; None: the last."""
        return resolve_layer(self.spec, layer)

    @cached_property
    def _cam_weights(self) -> FloatArray:
        return read_cam_weights(self)
