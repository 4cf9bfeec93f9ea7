"""The inputs of a session: images in the graph's layout and type, and the contract's two controls if there are any."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import numpy.typing as npt

from onnxplain.contract import EXPLAIN_INPUT, TARGET_INPUT, ImageInput, LayerSpec, ModelSpec, batched
from onnxplain.contract.expected import shown
from onnxplain.errors import OnnxplainError, UnsupportedError
from onnxplain.runtime.arrays import AnyArray, FloatArray
from onnxplain.runtime.preprocess import to_model
from onnxplain.runtime.session import Session
from onnxplain.runtime.target import PREDICTED_CLASS, check_targets


class Feed:
    """The inputs of one file: the image, `target` (the scalar to differentiate) and `explain` (a gate per layer)."""

    def __init__(self, session: Session, path: Path, spec: ModelSpec, image_input: ImageInput) -> None:
        self._path, self._spec, self._image = path, spec, image_input
        # The contract has two forms: the controls are required inputs in one and optional inputs in the other.
        controls = {TARGET_INPUT, EXPLAIN_INPUT} if spec.layers else set()
        self._required = controls & {tensor.name for tensor in session.get_inputs()}
        self._optional = controls & {tensor.name for tensor in session.get_overridable_initializers()}

    def check(self, batch_nchw: FloatArray, target: npt.NDArray[np.integer] | None) -> npt.NDArray[np.int64]:
        """The target of each image, int64 (N,). Raises OnnxplainError if batch or targets do not fit the model."""
        channels, (height, width) = self._spec.input.preprocessing.channel_count, self._spec.input.size_hw
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
        return check_targets(self._spec, target, len(batch_nchw))

    def arrays(
        self, batch_nchw: FloatArray, targets: npt.NDArray[np.int64], layer: LayerSpec | None
    ) -> dict[str, AnyArray]:
        """The inputs of one run by name. `layer`: the layer whose gradients are computed; None: no gradients."""
        images = to_model(batch_nchw, self._spec.input.layout, self._image.dtype)
        controls = self._controls(targets, layer)
        given = self._required | self._optional
        return {self._image.name: images, **{name: controls[name] for name in given}}

    def closed_controls(self) -> dict[str, AnyArray]:
        """The controls to bind for a run without gradients.

        Optional controls are left out: their defaults mean the same, and ONNX Runtime cannot bind numpy arrays to them.
        """
        controls = self._controls(np.array([PREDICTED_CLASS], np.int64), None)
        return {name: controls[name] for name in self._required}

    def buffer(self, count: int) -> AnyArray:
        """Zeros for `count` images in the layout and type of the graph, always with a batch axis."""
        channels, size_hw = self._spec.input.preprocessing.channel_count, self._spec.input.size_hw
        shape = (*size_hw, channels) if batched(self._spec.input.layout) == "nhwc" else (channels, *size_hw)
        return np.zeros((count, *shape), self._image.dtype)

    def _controls(self, targets: npt.NDArray[np.int64], layer: LayerSpec | None) -> dict[str, AnyArray]:
        gates = np.zeros(max(1, len(self._spec.layers)), np.bool_)
        if layer is not None:
            gates[self._spec.layers.index(layer)] = True
        return {TARGET_INPUT: targets, EXPLAIN_INPUT: gates}
