"""The engine: loads an ONNX file once and computes scores, predictions, feature maps and gradients of images."""

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
from onnxplain.runtime.detection.detections import DEFAULT_MAX_IOU, DEFAULT_MIN_SCORE, Detections
from onnxplain.runtime.detection.detector import Detector, no_detector_error, refuse_detector
from onnxplain.runtime.feed import Feed
from onnxplain.runtime.geometry import make_frame
from onnxplain.runtime.image import DEFAULT_MAX_MEGAPIXELS, ImageLike, list_images
from onnxplain.runtime.images.pixels import read_pixels
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
from onnxplain.sidecars import SidecarFacts


class Engine:
    """An image classifier, localizer or detector in an ONNX file, ready to run.

    `providers` are names such as ``cpu``, ``cuda`` or ``CUDAExecutionProvider``. The default is CUDA if ONNX Runtime
    has it, then the CPU. `threads` limits the threads of one run. With `precision` ``"bfloat16"``, a provider that
    supports bfloat16 computes in it (`apply_precision`).

    A file that `onnxplain instrument` or `export` wrote describes itself in its metadata. For any other file, give
    `preprocessing`, `input_size_hw`, `layout` and `labels`. Everything that is not given is read from the metadata of
    other tools and from their files beside the model (``engine.sidecars``), unless `sidecars` is False. The rest is
    assumed (``engine.spec.input.origins``). Such a file can predict, and black-box methods can explain it.
    `preprocessing` is whole, or some `PreprocessingParts`. The parts that are given replace those of an explainable
    file. `detector` names the layout of a detector, if it cannot be told (docs/detectors.md).

    Every image argument is a path, a PIL image or a uint8 RGB array (H, W, 3), or any iterable of them. `read_pixels`
    says what else is read for models of other channels or values. Raises ModelError for a file that cannot be used,
    OnnxplainError for an unknown provider or an unsupported precision. An engine holds no state between calls. Threads
    may share it.
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
        sidecars: bool = True,
        detector: str | None = None,
    ) -> None:
        self.path = Path(model)
        # The file that the user named. It differs from `path` if `open_model` instrumented that file on the way.
        self.source = self.path
        self._providers, self._threads, self.precision = providers, threads, precision
        self._session = open_session(self.path, providers, threads, precision)
        stated = Stated(preprocessing, input_size_hw, layout, labels, sidecars, detector)
        self.spec: ModelSpec
        # What other tools say about a plain file, as far as it fits the model; and what could not be used.
        self.sidecars: SidecarFacts
        self.spec, self._input, self.sidecars = read_spec(self._session, self.path, stated)
        self._feed = Feed(self._session, self.path, self.spec, self._input)
        self._batches = Batches(self.fixed_batch, IMAGES_AT_ONCE)
        # Runs and reads a detector; None for other models.
        self.detector: Detector | None = (
            None
            if self.spec.detector is None
            else Detector(self._session, self.path, self.spec, self._feed, self._batches)
        )
        # RISE's search for the fastest batch size continues from image to image. It does not change results.
        self.batch_size_search = open_search(self.providers, self.fixed_batch)

    @property
    def providers(self) -> tuple[str, ...]:
        """ONNX Runtime's names of the execution providers in use, the preferred one first."""
        return tuple(self._session.get_providers())

    @property
    def fixed_batch(self) -> int | None:
        """The batch size that the graph fixes; None if it takes any."""
        return self._input.batch

    @property
    def input_dtype(self) -> np.dtype[Any]:
        """The type of the graph's image input: float32, float16, float64, uint8 or int8."""
        return np.dtype(self._input.dtype)

    @property
    def input_layout(self) -> Layout:
        """The order of axes of a batch of images: ``nchw`` or ``nhwc``, also where the graph has no batch axis."""
        return batched(self.spec.input.layout)

    def read(self, image: ImageLike, max_megapixels: float = DEFAULT_MAX_MEGAPIXELS) -> AnyArray:
        """The pixels (H, W, C) that the model's preprocessing starts from: see `read_pixels`."""
        return read_pixels(image, self.spec.input.preprocessing, max_megapixels)

    def prepare(self, images: ImageLike | Iterable[ImageLike]) -> Batch:
        """Read images, warp them to the model's input and normalise them; the frames map back to the originals."""
        originals = tuple(self.read(image) for image in list_images(images))
        size_hw, preprocessing = self.spec.input.size_hw, self.spec.input.preprocessing
        frames = tuple(
            make_frame((image.shape[0], image.shape[1]), size_hw, preprocessing.resize, preprocessing.crop_share)
            for image in originals
        )
        warped = [warp_image(image, frame) for image, frame in zip(originals, frames, strict=True)]
        return Batch(normalise(np.stack(warped), preprocessing), frames, originals)

    def preprocess(self, images: ImageLike | Iterable[ImageLike]) -> FloatArray:
        """The normalised input images, float32 (N, C, H, W), whatever the layout of the file."""
        return self.prepare(images).pixels

    def scores(self, batch_nchw: FloatArray) -> FloatArray:
        """Softmax scores float32 (N, C) of a batch from `preprocess`.

        If the file has logits, the scores are their softmax: a softmax output in uint8 is 0 for unlikely classes.
        """
        return self.class_scores(self.run(batch_nchw, [self.class_output])[0])

    @property
    def class_output(self) -> str:
        """The name of the output that scores come from: the logits if the file has them, else the scores.

        Raises UnsupportedError for a detector.
        """
        refuse_detector(self.spec, self.path)
        return str(self.spec.outputs.logits or self.spec.outputs.scores)

    def class_scores(self, class_output: AnyArray) -> FloatArray:
        """Softmax scores float32 (N, C) from the raw values of the output `class_output`."""
        return softmax(as_rows(class_output)) if self.spec.outputs.logits else probabilities(class_output)

    def bind(self, output_names: Sequence[str]) -> BoundSession:
        """The session with its outputs bound. The gates are closed: no gradient is computed.

        Before each run, bind the image input, `spec.input.name`: see `BoundSession`.
        """
        unbatched = None if is_batched(self.spec.input.layout) else self._input.name
        more = None if self.detector is None else self.detector.size_feed
        bound = BoundSession(self._session, self.path, output_names, unbatched=unbatched, more_inputs=more)
        for name, value in self._feed.closed_controls().items():
            bound.bind(name, value)
        return bound

    def input_buffer(self, count: int) -> AnyArray:
        """Zeros for `count` images in the layout and type of the graph."""
        return self._feed.buffer(count)

    def run(
        self,
        batch_nchw: FloatArray,
        output_names: Sequence[str],
        target: npt.NDArray[np.int64] | None = None,
        explain: str | None = None,
    ) -> list[AnyArray]:
        """The named outputs of the file, unchanged, for a batch float32 (N, C, H, W).

        `target`: int64 (N,), the scalar to differentiate for each image; -1, the default, is the predicted class.
        `explain`: the layer whose gradients are computed; None, the default: no gradients. At most 8 images run at a
        time. If the graph fixes the batch size, the last batch is padded and the outputs of the padding are dropped.
        Raises OnnxplainError for another shape or a target that does not exist.
        """
        targets = self._feed.check(batch_nchw, target)
        layer = None if explain is None else self.resolve_layer(explain)

        def compute(part_nchw: FloatArray, part_targets: npt.NDArray[np.int64]) -> list[AnyArray]:
            inputs = self._feed.arrays(part_nchw, part_targets, layer)
            outputs = run_session(self._session, self.path, output_names, inputs)
            return outputs if is_batched(self.spec.input.layout) else [with_batch_axis(output) for output in outputs]

        return self._batches.run(compute, batch_nchw, targets)

    def predict(self, images: ImageLike | Iterable[ImageLike]) -> list[Prediction]:
        """The class and box of each image. The box comes from the box head; it is None without a box head."""
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

    def detect(
        self,
        images: ImageLike | Iterable[ImageLike],
        *,
        min_score: float = DEFAULT_MIN_SCORE,
        iou: float = DEFAULT_MAX_IOU,
    ) -> list[Detections]:
        """The detections of each image: boxes in pixels of the image, best first.

        A detection is a candidate whose best class has a score of at least `min_score`. Of candidates of one class that
        overlap by more than `iou`, the best stays, unless the model suppresses them itself. Raises UnsupportedError for
        a model that is no detector, OnnxplainError for numbers outside [0, 1].
        """
        if self.detector is None:
            raise no_detector_error(self.path)
        detections = []
        listed = list_images(images)
        for rows in self.detector.batches.slices(len(listed)):
            batch = self.prepare(listed[rows])
            detections += self.detector.detect(batch.pixels, batch.frames, min_score, iou)
        return detections

    def activations(
        self,
        images: ImageLike | Iterable[ImageLike],
        target: Target | Sequence[Target] = None,
        layer: str | None = None,
        *,
        gradients: bool = True,
    ) -> Activations:
        """Feature maps of a layer (by default the last) and the gradients of one target per image.

        `target`: one target for all images, or a list with one per image; see `resolve_target`. Raises
        UnsupportedError for a file without instrumented layers.
        """
        refuse_detector(self.spec, self.path)
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
        """The class activation map weights, float32 (C, K). Raises UnsupportedError if the file has none."""
        return self._cam_weights

    @cached_property
    def tail(self) -> Tail:
        """The tail: the part of the model behind the last layer. Its file is opened on first use.

        Raises ModelError if the model has no tail, or if the tail file is missing or belongs to another model.
        """
        return open_tail(self.path, self.spec, self._providers, self._threads, self.precision)

    def resolve_target(self, target: Target) -> int:
        """The index of a target: a label, an index, ``box:0`` … ``box:3``, or None for -1, the predicted class."""
        return resolve_target(self.spec, target)

    def target_name(self, index: int) -> str:
        """The display name of a target: the class's label (its index without labels), or ``box:0`` … ``box:3``."""
        return target_name(self.spec, index)

    def resolve_layer(self, layer: str | None) -> LayerSpec:
        """The layer with that name, or the only layer whose name contains it. None: the last layer."""
        return resolve_layer(self.spec, layer)

    @cached_property
    def _cam_weights(self) -> FloatArray:
        return read_cam_weights(self._session, self.path, self.spec, self._feed, self.fixed_batch or 1)
