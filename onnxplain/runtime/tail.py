"""The tail of a model: the part behind its last layer, which computes logits (and box) from feature maps."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from onnxplain.contract import TAIL_METADATA_KEY, ModelSpec, TailSpec
from onnxplain.errors import ModelError, OnnxplainError
from onnxplain.runtime.arrays import AnyArray, FloatArray
from onnxplain.runtime.head_scores import entry_scalars
from onnxplain.runtime.scores import softmax
from onnxplain.runtime.sessions.batches import FEATURES_AT_ONCE, Batches
from onnxplain.runtime.sessions.precision import Precision
from onnxplain.runtime.sessions.session import Session, open_session, run_session

_FEATURE_AXES = 4


class Tail:
    """The tail file of a model, ready to run on the features of the model's last layer.

    `batch_size`: how many feature maps run at a time: the number that the file fixes, else 16. A tail holds no state
    between calls. Threads may share it.
    """

    def __init__(self, session: Session, path: Path, spec: ModelSpec, tail_spec: TailSpec) -> None:
        self.path = path
        self.layer = spec.layers[-1]
        self.classes, self._heads = spec.classes, spec.heads
        self._session, self._input = session, tail_spec.input
        self._outputs = list(tail_spec.outputs)
        batch = session.get_inputs()[0].shape[0]
        self._batches = Batches(batch if isinstance(batch, int) else None, FEATURES_AT_ONCE)
        self.batch_size = self._batches.size

    def outputs(self, features: FloatArray) -> list[AnyArray]:
        """The outputs of the heads, one per head of the model, for features float32 (N, K, h, w).

        Raises OnnxplainError for another shape.
        """
        shape = (self.layer.channels, *self.layer.size_hw)
        if features.ndim != 4 or features.shape[1:] != shape or not len(features):
            raise OnnxplainError(
                f"features of {self.layer.name}: found shape {features.shape}, expected (N, "
                f"{', '.join(map(str, shape))}), N ≥ 1"
            )
        return self._batches.run(self._run, features)

    def answers(self, features: FloatArray) -> FloatArray:
        """The number that is differentiated for every target, float32 (N, T), of features float32 (N, K, h, w).

        For a classifier the logits; with a box head also the four raw numbers of the box. A cosine is NaN here.
        """
        return entry_scalars(self._heads, self.outputs(features))

    def logits(self, features: FloatArray) -> FloatArray:
        """The class logits, float32 (N, C), of features float32 (N, K, h, w)."""
        return self.answers(features)[:, : self.classes]

    def scores(self, features: FloatArray) -> FloatArray:
        """The softmax scores, float32 (N, C), of features float32 (N, K, h, w)."""
        return softmax(self.logits(features))

    def _run(self, features: FloatArray) -> list[AnyArray]:
        feed = {self._input: np.ascontiguousarray(features, np.float32)}
        outputs = run_session(self._session, self.path, self._outputs, feed)
        sizes = [(head.size, *(head.map_size_hw or ())) for head in self._heads]
        if any(np.shape(output) != (len(features), *size) for output, size in zip(outputs, sizes, strict=True)):
            shapes = ", ".join(str(np.shape(output)) for output in outputs)
            expected = ", ".join(f"(N, {', '.join(map(str, size))})" for size in sizes)
            raise ModelError(
                f"{self.path}: found outputs of shape {shapes}, expected {expected}: write it again with "
                "`onnxplain instrument` (or `export`)"
            )
        return outputs


def open_tail(
    model: Path,
    spec: ModelSpec,
    providers: Sequence[str] | None,
    threads: int | None,
    precision: Precision,
    timeout: float | None = None,
) -> Tail:
    """The tail of a model, with the same providers, threads, precision and timeout. Its file is in the model's folder.

    Raises ModelError if the model has no tail, or if the tail file is missing or belongs to another model. Also raises
    the errors of `open_session`.
    """
    if spec.tail is None:
        raise ModelError(
            f"{model}: found no tail in its metadata, expected one: write the model again with `onnxplain instrument` "
            "(or `export`), without --no-tail"
        )
    path = model.with_name(spec.tail.file)
    if not path.exists():
        raise ModelError(
            f"{path}: found no tail file, expected it in the folder of {model.name}: put it there, or write both "
            "again with `onnxplain instrument` (or `export`)"
        )
    session = open_session(path, providers, threads, precision, timeout)
    found = session.get_modelmeta().custom_metadata_map.get(TAIL_METADATA_KEY)
    if found != spec.tail.id:
        kind = "no tail" if found is None else f"tail {found}"
        raise ModelError(
            f"{path}: found {kind}, expected tail {spec.tail.id} of {model.name}: write both again with "
            "`onnxplain instrument` (or `export`)"
        )
    _check_names(session, path, spec.tail)
    return Tail(session, path, spec, spec.tail)


def _check_names(session: Session, path: Path, tail_spec: TailSpec) -> None:
    """Raise ModelError unless the file has the input and the outputs that the metadata name."""
    wanted = {tail_spec.input, *tail_spec.outputs}
    missing = wanted - {tensor.name for tensor in (*session.get_inputs(), *session.get_outputs())}
    inputs = session.get_inputs()
    if missing or [tensor.name for tensor in inputs] != [tail_spec.input] or len(inputs[0].shape) != _FEATURE_AXES:
        raise ModelError(
            f"{path}: found inputs or outputs of other names or shapes, expected {', '.join(sorted(wanted))} as in the "
            "metadata of the model: write both again with `onnxplain instrument` (or `export`)"
        )
