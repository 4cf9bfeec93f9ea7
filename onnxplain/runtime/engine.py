"""The engine: loads an ONNX file once and computes scores, predictions, feature maps and gradients of images."""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from onnxplain.contract import (
    REFERENCE_INPUT,
    REGION_INPUT,
    GivenHeads,
    GivenInputs,
    GivenLabels,
    Layout,
    ModelSpec,
    Preprocessing,
    PreprocessingParts,
    batched,
    is_batched,
)
from onnxplain.contract.arguments import checked
from onnxplain.machine.provider_choice import device_number
from onnxplain.machine.time_limit import checked_timeout, current_timeout
from onnxplain.runtime.arrays import AnyArray, FloatArray
from onnxplain.runtime.cam_weights import read_cam_weights
from onnxplain.runtime.detection.detecting import Detecting
from onnxplain.runtime.detection.detector import open_detector, refuse_detector
from onnxplain.runtime.feed import Feed
from onnxplain.runtime.heads.aims import check_reference, check_region
from onnxplain.runtime.heads.answering import Answering
from onnxplain.runtime.image import DEFAULT_MAX_MEGAPIXELS, ImageLike, list_images
from onnxplain.runtime.images.pixels import read_pixels
from onnxplain.runtime.images.prepared import PreparedImage
from onnxplain.runtime.output_shapes import OutputShapes
from onnxplain.runtime.part_run import PartRun
from onnxplain.runtime.preprocess import prepare_pixels
from onnxplain.runtime.read_activations import observe
from onnxplain.runtime.results import Activations, Batch
from onnxplain.runtime.sessions.batch_size import open_search
from onnxplain.runtime.sessions.batches import IMAGES_AT_ONCE, Batches
from onnxplain.runtime.sessions.binding import BoundSession
from onnxplain.runtime.sessions.many_targets import OneImage, run_for_targets
from onnxplain.runtime.sessions.precision import Precision
from onnxplain.runtime.sessions.session import open_session
from onnxplain.runtime.spec import Stated, read_model
from onnxplain.runtime.tail import Tail, open_tail
from onnxplain.runtime.target import Target
from onnxplain.sidecars import SidecarFacts


class Engine(Answering, Detecting):
    """An image model in an ONNX file, ready to run: a classifier, a localizer, a detector, or what its heads answer.

    `providers` are names such as ``cpu``, ``cuda:1`` or ``tensorrt,cache=FOLDER`` (`choose_providers`). The default is
    CUDA if ONNX Runtime has it, then the CPU. `threads` limits the threads of one run. With `precision` ``"bfloat16"``,
    a provider that supports bfloat16 computes in it (`apply_precision`). A run of over `timeout` seconds raises
    TimeLimitError; the default is 30 (`limit_runs`), 0 means no limit.

    A file that `onnxplain instrument` or `export` wrote describes itself in its metadata. For any other file, give
    `preprocessing`, `input_size_hw`, `layout` and `labels`. Everything that is not given is read from the metadata of
    other tools and from their files beside the model (``engine.sidecars``), unless `sidecars` is False. The rest is
    assumed (``engine.spec.input.origins``). Such a file can predict, and black-box methods can explain it.
    `preprocessing` is whole, or some `PreprocessingParts`. The parts that are given replace those of an explainable
    file. `detector` names the layout of a detector, if it cannot be told (docs/detectors.md).

    `heads` says what outputs of such a file mean where its graph does not: ``"NAME:KIND"``, or ``"NAME"`` for the head
    to explain by default. `labels`: those of the default head, or ``{head: labels}``. `inputs`: values of inputs
    besides the image, by name; the size of the image fills itself.

    Every image argument is a path, a PIL image, the bytes of an image file, an open file or a uint8 RGB array
    (H, W, 3), or any iterable of them. `read_pixels` says what else is read for models of other channels or values.
    Raises ModelError for a file that cannot be used, OnnxplainError for an unknown provider or an unsupported
    precision. An engine holds no state between calls. Threads may share it.
    """

    @checked
    def __init__(
        self,
        model: str | os.PathLike[str],
        providers: str | Sequence[str] | None = None,
        threads: int | None = None,
        *,
        precision: Precision = "float32",
        preprocessing: Preprocessing | PreprocessingParts | None = None,
        input_size_hw: tuple[int, int] | None = None,
        layout: Layout | None = None,
        labels: GivenLabels | None = None,
        sidecars: bool = True,
        timeout: float | None = None,
        heads: GivenHeads = (),
        inputs: GivenInputs | None = None,
        detector: str | None = None,
    ) -> None:
        self._arguments: dict[str, Any] = {
            "model": model,
            "providers": providers,
            "threads": threads,
            "precision": precision,
            "preprocessing": preprocessing,
            "input_size_hw": input_size_hw,
            "layout": layout,
            "labels": labels,
            "sidecars": sidecars,
            "heads": heads,
            "inputs": inputs,
            "detector": detector,
        }
        self.path = Path(model)
        # The file that the user named. It differs from `path` if `open_model` instrumented that file on the way.
        self.source = self.path
        self._providers, self._threads, self.precision = providers, threads, precision
        self.timeout = current_timeout() if timeout is None else checked_timeout(timeout)
        self._session = open_session(self.path, providers, threads, precision, self.timeout)
        stated = Stated(preprocessing, input_size_hw, layout, labels, sidecars, tuple(heads), inputs or {}, detector)
        read = read_model(self._session, self.path, stated)
        self.spec: ModelSpec = read.spec
        self._input = read.image
        # What other tools say about a plain file, as far as it fits the model; and what could not be used.
        self.sidecars: SidecarFacts = read.sidecars
        # The outputs of a plain file that are no heads, each with the reason.
        self.unused_outputs = read.unused
        self._feed = Feed(self._session, self.path, self.spec, self._input, read.file_targets)
        self._shapes = OutputShapes(self.spec)
        self._batches = Batches(self.fixed_batch, IMAGES_AT_ONCE)
        # Runs and reads a detector; None for other models.
        self.detector = open_detector(self._session, self.path, self.spec, self._feed, self._batches)
        # RISE's search for the fastest batch size continues from image to image. It does not change results.
        self.batch_size_search = open_search(self.providers, self.fixed_batch)

    def __repr__(self) -> str:
        height, width = self.spec.input.size_hw
        layers = f"{len(self.spec.layers)} layers" if self.spec.layers else "no layers"
        return f"<Engine {self.source.name}: {self.spec.task}, {self.spec.classes} classes, {height}×{width}, {layers}>"

    def __reduce__(self) -> tuple[Any, ...]:
        """A pickle or a copy opens the file again, with the same arguments."""
        return _open_again, (type(self), {**self._arguments, "timeout": self.timeout}, self.source)

    @property
    def providers(self) -> tuple[str, ...]:
        """ONNX Runtime's names of the execution providers in use, the preferred one first."""
        return tuple(self._session.get_providers())

    @property
    def device_number(self) -> int:
        """The number of the device on which the first provider computes."""
        return device_number(self._providers)

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
        return Batch.of([self.prepare_image(image) for image in list_images(images)])

    def prepare_image(self, image: ImageLike, max_megapixels: float = DEFAULT_MAX_MEGAPIXELS) -> PreparedImage:
        """One image, read, warped and normalised; it can then be given to this engine wherever an image can."""
        if isinstance(image, PreparedImage) and image.fits(self.spec.input):
            return image
        return prepare_pixels(self.read(image, max_megapixels), self.spec.input)

    def preprocess(self, images: ImageLike | Iterable[ImageLike]) -> FloatArray:
        """The normalised input images, float32 (N, C, H, W), whatever the layout of the file."""
        return self.prepare(images).pixels

    def bind(self, output_names: Sequence[str], image_size_hw: tuple[int, int] | None = None) -> BoundSession:
        """The session with its outputs bound. The gates are closed: no gradient is computed.

        Before each run, bind the image input, `spec.input.name`: see `BoundSession`. `image_size_hw`: the size of the
        original image, for models that take it; None: the size of the model's input.
        """
        bound = BoundSession(
            self._session,
            self.path,
            output_names,
            unbatched=None if is_batched(self.spec.input.layout) else self._input.name,
            beside=self._feed.beside(image_size_hw),
            any_rows=self.detector is not None,
        )
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
        explain: str | Sequence[str] | None = None,
        *,
        reference: npt.ArrayLike | None = None,
        region: npt.ArrayLike | None = None,
        image_sizes_hw: npt.ArrayLike | None = None,
    ) -> list[AnyArray]:
        """The named outputs of the file, unchanged, for a batch float32 (N, C, H, W).

        `target`: int64 (N,), the scalar to differentiate for each image; -1, the default, is the predicted class. One
        image may have any number T of targets: gradients then have T rows, all other outputs one, from one forward pass
        if the layer has `many_targets`. Those of a detector: docs/detectors.md. `explain`: the layer, or layers,
        whose gradients are computed; None, the default: no gradients. At most 8 images, or 32 targets of one, run at a
        time. If the graph fixes the batch size, the last batch is padded and the outputs of the padding are dropped.

        `reference`: float32 (N or 1, D), the vector whose cosine with an embedding is differentiated; without it that
        gradient is NaN. `region`: float32 (N or 1, 1, h, w), the weights of a mask's cells; None: all alike. For one
        image they may have a row for each target. `image_sizes_hw`: (N, 2), the sizes of the original images, for
        models that take them; None: the input's.

        Raises OnnxplainError for another shape, a target that does not exist, a reference of zeros, an empty region.
        """
        targets = self._feed.check(batch_nchw, target)
        layers = [self.resolve_layer(name) for name in ([explain] if isinstance(explain, str) else explain or ())]
        count = max(len(batch_nchw), len(targets))
        aims = {
            REFERENCE_INPUT: check_reference(self.spec, reference, count),
            REGION_INPUT: check_region(self.spec, region, count),
        }
        sizes = self._feed.sizes(len(batch_nchw)) if image_sizes_hw is None else np.asarray(image_sizes_hw, np.int64)
        compute = PartRun(self._session, self.path, self._feed, self._shapes, output_names, layers, aims)
        if len(targets) > len(batch_nchw):
            image = OneImage(batch_nchw, sizes)
            return run_for_targets(compute, self._batches, image, targets, output_names, self.spec.gradient_layers)
        return self._batches.run(compute, batch_nchw, targets, sizes, np.arange(count))

    @checked
    def activations(
        self,
        images: ImageLike | Iterable[ImageLike],
        target: Target | Sequence[Target] = None,
        layer: str | None = None,
        *,
        gradients: bool = True,
        reference: npt.ArrayLike | None = None,
        region: npt.ArrayLike | None = None,
    ) -> Activations:
        """Feature maps of a layer (by default the last) and the gradients of one target per image.

        `target`: one target for all images, or a list with one per image; see `resolve_target`. For a single image (no
        list), a list of any number of targets: a row for each, from one forward pass if the layer has `many_targets`.
        `reference` and `region`: as for `run`. Raises UnsupportedError for a file without instrumented layers.
        """
        refuse_detector(self.spec, self.source)
        chosen = self.resolve_layer(layer)
        layers = [chosen]
        return observe(self, images, target, layers, gradients=gradients, reference=reference, region=region)[0]

    def cam_weights(self) -> FloatArray:
        """The class activation map weights, float32 (C, K). Raises UnsupportedError if the file has none."""
        return self._cam_weights

    @cached_property
    def tail(self) -> Tail:
        """The tail: the part of the model behind the last layer. Its file is opened on first use.

        Raises ModelError if the model has no tail, or if the tail file is missing or belongs to another model.
        """
        return open_tail(self.path, self.spec, self._providers, self._threads, self.precision, self.timeout)

    @cached_property
    def _cam_weights(self) -> FloatArray:
        return read_cam_weights(self._session, self.path, self.spec, self._feed, self.fixed_batch or 1)


def _open_again(kind: type[Engine], arguments: dict[str, Any], source: Path) -> Engine:
    engine = kind(**arguments)
    engine.source = source
    return engine
