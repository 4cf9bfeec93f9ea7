"""One ONNX file, loaded once: images in; scores, predictions, feature maps and gradients out."""

from __future__ import annotations

import os
from collections.abc import Callable, Hashable, Iterator, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt

from onnxplain.contract import EXPLAIN_INPUT, TARGET_INPUT, LayerSpec, Layout, ModelSpec, Preprocessing
from onnxplain.errors import OnnxplainError, UnsupportedError
from onnxplain.runtime.arrays import AnyArray, FloatArray
from onnxplain.runtime.binding import BoundSession
from onnxplain.runtime.box import Corners, decode_boxes, place_boxes
from onnxplain.runtime.geometry import make_frame
from onnxplain.runtime.image import ImageLike, as_image, as_list
from onnxplain.runtime.precision import Precision
from onnxplain.runtime.preprocess import normalise, to_model, warp_image
from onnxplain.runtime.results import Activations, Batch, Prediction
from onnxplain.runtime.scores import as_rows, probabilities, softmax
from onnxplain.runtime.session import open_session, run_session
from onnxplain.runtime.spec import Stated, read_spec
from onnxplain.runtime.tail import Tail, open_tail
from onnxplain.runtime.target import (
    PREDICTED_CLASS,
    Target,
    check_targets,
    resolve_layer,
    resolve_target,
    resolve_targets,
    target_name,
)

Answer = TypeVar("Answer")

# More images at once cost memory and gain nothing: on a CPU, throughput hardly grows past this.
MAX_BATCH = 8


class Engine:
    """An image classifier or localizer in an ONNX file, ready to run.

    `providers` are names such as ``cpu``, ``cuda`` or ``CUDAExecutionProvider``, by default CUDA where ONNX
    Runtime has it, then the CPU; `threads` limits the threads of one run; `precision` ``"bfloat16"`` makes a provider
    that offers it compute in it (`apply_precision`). A file that `onnxplain instrument`
    or `export` wrote says everything about itself. For any other, `preprocessing`, `input_size_hw`, `layout`
    and `labels` state it, and what is not stated is assumed (``engine.spec.input.assumed``): such a file
    predicts and can be explained by black-box methods. Every image argument is a path, a PIL image or a uint8
    RGB array (H, W, 3), or a list of them. Raises ModelError for a file that cannot be used, OnnxplainError
    for an unknown provider or a precision that it does not offer. An engine holds no state between calls and may be
    shared by threads.
    """

    def __init__(
        self,
        model: str | os.PathLike[str],
        providers: Sequence[str] | None = None,
        threads: int | None = None,
        *,
        precision: Precision = "float32",
        preprocessing: Preprocessing | None = None,
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
        # The two extra inputs are optional in one form of the contract and required in the other.
        inputs = [*self._session.get_inputs(), *self._session.get_overridable_initializers()]
        self._controls = {TARGET_INPUT, EXPLAIN_INPUT} & {tensor.name for tensor in inputs}
        if not self.spec.layers:
            self._controls = set()
        self._remembered: dict[Hashable, Any] = {}

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
        """The type in which the graph takes images: float32, float16, float64 or uint8."""
        return np.dtype(self._input.dtype)

    def prepare(self, images: ImageLike | Sequence[ImageLike]) -> Batch:
        """Images read, warped to the model's input and normalised, with the way back to each original."""
        originals = tuple(as_image(image) for image in as_list(images))
        size_hw, preprocessing = self.spec.input.size_hw, self.spec.input.preprocessing
        frames = tuple(
            make_frame((image.shape[0], image.shape[1]), size_hw, preprocessing.resize) for image in originals
        )
        warped = [warp_image(image, frame) for image, frame in zip(originals, frames, strict=True)]
        return Batch(normalise(np.stack(warped), preprocessing), frames, originals)

    def preprocess(self, images: ImageLike | Sequence[ImageLike]) -> FloatArray:
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
        bound = BoundSession(self._session, self.path, output_names)
        controls = {TARGET_INPUT: np.array([PREDICTED_CLASS], np.int64), EXPLAIN_INPUT: self._open_gate(None)}
        # Where the controls are optional, these are their defaults, and ONNX Runtime binds no numpy array to them.
        for tensor in self._session.get_inputs():
            if tensor.name in self._controls:
                bound.bind(tensor.name, controls[tensor.name])
        return bound

    def input_buffer(self, count: int) -> AnyArray:
        """Zeros for `count` images in the graph's own layout and type."""
        channels, size_hw = self.spec.input.preprocessing.channel_count, self.spec.input.size_hw
        shape = (*size_hw, channels) if self.spec.input.layout == "nhwc" else (channels, *size_hw)
        return np.zeros((count, *shape), self.input_dtype)

    def remember(self, question: Hashable, find: Callable[[], Answer]) -> Answer:
        """What `find` found, asked once and kept as long as the session.

        For what is a property of the session and changes no result, such as its fastest batch size.
        """
        if question not in self._remembered:
            self._remembered[question] = find()
        answer: Answer = self._remembered[question]
        return answer

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
        channels, (height, width) = self.spec.input.preprocessing.channel_count, self.spec.input.size_hw
        if batch_nchw.ndim != 4 or batch_nchw.shape[1:] != (channels, height, width) or not len(batch_nchw):
            raise OnnxplainError(
                f"batch: found shape {batch_nchw.shape}, expected (N, {channels}, {height}, {width}), N ≥ 1"
            )
        if target is not None and TARGET_INPUT not in self._controls:
            raise UnsupportedError(f"{self.path}: the file takes no target: run `onnxplain instrument` first")
        targets = check_targets(self.spec, target, len(batch_nchw))
        gates = self._open_gate(explain)
        size = self.fixed_batch or MAX_BATCH
        chunks = []
        for start in range(0, len(batch_nchw), size):
            part, part_targets = batch_nchw[start : start + size], targets[start : start + size]
            count = len(part)
            if self.fixed_batch is not None and count < size:
                part = np.concatenate([part, *[part[-1:]] * (size - count)])
                part_targets = np.pad(part_targets, (0, size - count), mode="edge")
            outputs = self._run_once(part, output_names, part_targets, gates)
            chunks.append([output[:count] for output in outputs])
        return [np.concatenate(parts) if len(parts) > 1 else parts[0] for parts in zip(*chunks, strict=True)]

    def predict(self, images: ImageLike | Sequence[ImageLike]) -> list[Prediction]:
        """What each image shows, and where: the box is the box head's, None where there is no such head."""
        predictions = []
        box_output = self.spec.outputs.box
        for chunk in _chunked(as_list(images), self.fixed_batch or MAX_BATCH):
            batch = self.prepare(chunk)
            names = [self.class_output, *([box_output] if box_output else [])]
            outputs = self.run(batch.pixels, names)
            boxes: list[Corners] | list[None] = [None] * len(chunk)
            if self.spec.box is not None:
                boxes = place_boxes(decode_boxes(outputs[1], self.spec.box, self.spec.input.size_hw), batch.frames)
            for scores, box in zip(self.class_scores(outputs[0]), boxes, strict=True):
                predictions.append(
                    Prediction.from_scores(scores, self.spec.labels, box, None if box is None else "head")
                )
        return predictions

    def activations(
        self,
        images: ImageLike | Sequence[ImageLike],
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
        if self.spec.outputs.cam_weights is None:
            reason = (
                "its head is not global average pooling + linear: use grad-cam"
                if self.spec.layers
                else "it is not instrumented: run `onnxplain instrument` first"
            )
            raise UnsupportedError(f"{self.path}: the file holds no class activation map weights, {reason}")
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
        size = self.fixed_batch or 1
        blank = np.zeros((size, self.spec.input.preprocessing.channel_count, *self.spec.input.size_hw), np.float32)
        targets = np.full(size, PREDICTED_CLASS, np.int64)
        names = [str(self.spec.outputs.cam_weights)]
        weights: FloatArray = self._run_once(blank, names, targets, self._open_gate(None))[0]
        weights.setflags(write=False)
        return weights

    def _run_once(
        self,
        batch_nchw: FloatArray,
        output_names: Sequence[str],
        targets: npt.NDArray[np.int64],
        gates: npt.NDArray[np.bool_],
    ) -> list[AnyArray]:
        feed: dict[str, AnyArray] = {self._input.name: to_model(batch_nchw, self.spec.input.layout, self._input.dtype)}
        if TARGET_INPUT in self._controls:
            feed[TARGET_INPUT] = targets
        if EXPLAIN_INPUT in self._controls:
            feed[EXPLAIN_INPUT] = gates
        return run_session(self._session, self.path, output_names, feed)

    def _open_gate(self, layer: str | None) -> npt.NDArray[np.bool_]:
        gates = np.zeros(max(1, len(self.spec.layers)), np.bool_)
        if layer is not None:
            gates[self.spec.layers.index(self.resolve_layer(layer))] = True
        return gates


def _chunked(images: list[ImageLike], size: int) -> Iterator[list[ImageLike]]:
    for start in range(0, len(images), size):
        yield images[start : start + size]
