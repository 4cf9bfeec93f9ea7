"""The inputs of a session: images in the graph's layout and type, and the contract's two controls if there are any."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from onnxplain.contract import (
    ATTENTION_INPUT,
    EXPLAIN_INPUT,
    REFERENCE_INPUT,
    REGION_INPUT,
    TARGET_INPUT,
    ExtraInput,
    ImageInput,
    LayerSpec,
    ModelSpec,
    batched,
)
from onnxplain.contract.expected import shown
from onnxplain.errors import OnnxplainError, UnsupportedError
from onnxplain.runtime.arrays import AnyArray, FloatArray
from onnxplain.runtime.heads.default_head import FileTargets
from onnxplain.runtime.preprocess import to_model
from onnxplain.runtime.sessions.session import Session
from onnxplain.runtime.target import PREDICTED_CLASS, check_targets


@dataclass(frozen=True)
class Opened:
    """What a run computes besides the model's answers: the gradients of `layers`, and the attention among `outputs`."""

    layers: Collection[LayerSpec] = ()
    outputs: Collection[str] = ()

    def attention_gates(self, spec: ModelSpec) -> npt.NDArray[np.bool_]:
        """The input ``explain_attention``: for each kind of output, whether one of it is among the outputs."""
        attention = spec.attention
        if attention is None:
            return np.array([False])
        kinds = [
            [layer.features for layer in attention.layers],
            [layer.gradients for layer in attention.layers],
            [layer.gradients for layer in attention.layerwise_layers],
        ]
        return np.array([any(name in self.outputs for name in names) for names in kinds if names])


class Feed:
    """The inputs of one file: the image, `target` (the scalar to differentiate) and `explain` (a gate per layer)."""

    def __init__(
        self,
        session: Session,
        path: Path,
        spec: ModelSpec,
        image_input: ImageInput,
        file_targets: FileTargets | None = None,
    ) -> None:
        self._path, self.spec, self._image = path, spec, image_input
        # How the file counts targets, where another of its heads is the default.
        self.file_targets = file_targets
        # The contract has two forms: the controls are required inputs in one and optional inputs in the other.
        controls = {TARGET_INPUT, EXPLAIN_INPUT, ATTENTION_INPUT} if spec.layers else set()
        required = {tensor.name for tensor in session.get_inputs()}
        optional = {tensor.name for tensor in session.get_overridable_initializers()}
        self._required, self._optional = controls & required, controls & optional
        # Inputs that only some heads need.
        known = {REFERENCE_INPUT, REGION_INPUT} if spec.layers else set()
        self._aims, self._required_aims = known & (required | optional), known & required

    def check(self, batch_nchw: FloatArray, target: npt.NDArray[np.integer] | None) -> npt.NDArray[np.int64]:
        """The target of each image, int64 (N,), or any number of targets of one image.

        Raises OnnxplainError if batch or targets do not fit the model.
        """
        channels, (height, width) = self.spec.input.preprocessing.channel_count, self.spec.input.size_hw
        if not isinstance(batch_nchw, np.ndarray) or batch_nchw.dtype.kind != "f":
            raise OnnxplainError(f"batch: found {shown(batch_nchw)}, expected an array of float32")
        if batch_nchw.ndim != 4 or batch_nchw.shape[1:] != (channels, height, width) or not len(batch_nchw):
            raise OnnxplainError(
                f"batch: found shape {batch_nchw.shape}, expected (N, {channels}, {height}, {width}), N ≥ 1"
            )
        if target is not None and TARGET_INPUT not in self._required | self._optional:
            raise UnsupportedError(
                f"{self._path}: found no target input, expected an instrumented file: run `onnxplain instrument` first"
            )
        return check_targets(self.spec, target, len(batch_nchw))

    def arrays(
        self,
        batch_nchw: FloatArray,
        targets: npt.NDArray[np.int64],
        opened: Opened,
        aims: Mapping[str, FloatArray | None] | None = None,
        image_sizes_hw: npt.NDArray[np.int64] | None = None,
    ) -> dict[str, AnyArray]:
        """The inputs of one run by name. `opened`: what the run computes besides the model's answers.

        `aims`: the inputs ``reference`` and ``region``, where they are given and the file has them. `image_sizes_hw`:
        the size of each original image, int64 (N, 2); None: the size of the model's input.
        """
        source = self.spec.input
        images = to_model(batch_nchw, source.layout, self._image.dtype, source.quantization)
        controls = self._controls(targets, opened)
        given = self._required | self._optional
        inputs = {self._image.name: images, **{name: controls[name] for name in given}}
        stated = {name: value for name, value in (aims or {}).items() if value is not None and name in self._aims}
        inputs.update({**self._default_aims(), **stated})
        if self.spec.extra_inputs:
            sizes_hw = self.sizes(len(batch_nchw)) if image_sizes_hw is None else image_sizes_hw
            inputs.update(extra_arrays(self.spec.extra_inputs, sizes_hw))
        return inputs

    def sizes(self, count: int) -> npt.NDArray[np.int64]:
        """The size of the model's input for each of `count` images, int64 (N, 2)."""
        return np.full((count, 2), self.spec.input.size_hw, np.int64)

    def beside(self, image_size_hw: tuple[int, int] | None) -> Callable[[int], Mapping[str, AnyArray]] | None:
        """What the inputs besides the image are given, for a number of copies of one image; None: there are no such.

        `image_size_hw`: the size of the original; None: the size of the model's input.
        """
        extra, size_hw = self.spec.extra_inputs, image_size_hw or self.spec.input.size_hw
        if not extra:
            return None
        return lambda count: extra_arrays(extra, np.tile(np.asarray(size_hw, np.int64), (count, 1)))

    def closed_controls(self) -> dict[str, AnyArray]:
        """The controls to bind for a run without gradients.

        Optional controls are left out: their defaults mean the same, and ONNX Runtime cannot bind numpy arrays to them.
        """
        controls = self._controls(np.array([PREDICTED_CLASS], np.int64), Opened())
        return {**{name: controls[name] for name in self._required}, **self._default_aims()}

    def _default_aims(self) -> dict[str, AnyArray]:
        """The defaults of ``reference`` and ``region``, where a file requires these inputs."""
        size = next((head.size for head in self.spec.heads if head.kind == "embedding"), 1)
        defaults = {
            REFERENCE_INPUT: np.zeros((1, size), np.float32),
            REGION_INPUT: np.ones((1, 1, 1, 1), np.float32),
        }
        return {name: defaults[name] for name in self._required_aims}

    def buffer(self, count: int) -> AnyArray:
        """Zeros for `count` images in the layout and type of the graph, always with a batch axis."""
        channels, size_hw = self.spec.input.preprocessing.channel_count, self.spec.input.size_hw
        shape = (*size_hw, channels) if batched(self.spec.input.layout) == "nhwc" else (channels, *size_hw)
        return np.zeros((count, *shape), self._image.dtype)

    def _controls(self, targets: npt.NDArray[np.int64], opened: Opened) -> dict[str, AnyArray]:
        gates = np.array([layer in opened.layers for layer in self.spec.layers] or [False])
        counted = targets if self.file_targets is None else self.file_targets.of(targets)
        return {TARGET_INPUT: counted, EXPLAIN_INPUT: gates, ATTENTION_INPUT: opened.attention_gates(self.spec)}


def extra_arrays(extra: Sequence[ExtraInput], image_sizes_hw: npt.NDArray[np.int64]) -> dict[str, AnyArray]:
    """What the inputs besides the image are given for images of these original sizes, int64 (N, 2), height first.

    A constant without a value is left out: the file keeps it as a default.
    """
    arrays: dict[str, AnyArray] = {}
    count = len(image_sizes_hw)
    for each in extra:
        if each.fill == "constant":
            if each.value is not None:
                shape = [1 if side is None else side for side in each.shape]
                value = np.asarray(each.value).astype(each.dtype).reshape(shape)
                arrays[each.name] = np.repeat(value, count, axis=0) if each.shape[:1] == (None,) else value
        else:
            sizes = image_sizes_hw if each.fill == "image_size_hw" else image_sizes_hw[:, ::-1]
            arrays[each.name] = np.ascontiguousarray(sizes, each.dtype)
    return arrays
