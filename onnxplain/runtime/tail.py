"""The tail of a model: the part behind its last layer, which computes logits (and box) from feature maps."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from onnxplain.contract import TAIL_METADATA_KEY, ModelSpec, TailSpec
from onnxplain.errors import ModelError, OnnxplainError
from onnxplain.runtime.arrays import FloatArray
from onnxplain.runtime.batches import FEATURES_AT_ONCE, Batches
from onnxplain.runtime.precision import Precision
from onnxplain.runtime.scores import softmax
from onnxplain.runtime.session import Session, open_session, run_session


class Tail:
    """The tail file of a model, ready to run on the features of the model's last layer.

    `batch_size`: how many feature maps run at a time: the number that the file fixes, else 16. A tail holds no state
    between calls. Threads may share it.
    """

    def __init__(self, session: Session, path: Path, spec: ModelSpec, tail_spec: TailSpec) -> None:
        self.path = path
        self.layer = spec.layers[-1]
        self.classes = spec.classes
        self._session, self._input = session, tail_spec.input
        self._outputs = list(tail_spec.outputs)
        batch = session.get_inputs()[0].shape[0]
        self._batches = Batches(batch if isinstance(batch, int) else None, FEATURES_AT_ONCE)
        self.batch_size = self._batches.size

    def answers(self, features: FloatArray) -> FloatArray:
        """The outputs of the heads for features float32 (N, K, h, w), one column per target.

        float32 (N, C): the logits. With a box head (N, C + 4): the logits, then the four raw numbers of the box.
        Raises OnnxplainError for another shape.
        """
        shape = (self.layer.channels, *self.layer.size_hw)
        if features.ndim != 4 or features.shape[1:] != shape or not len(features):
            raise OnnxplainError(
                f"features of {self.layer.name}: found shape {features.shape}, expected (N, "
                f"{', '.join(map(str, shape))}), N ≥ 1"
            )
        (answers,) = self._batches.run(self._run, features)
        return answers

    def logits(self, features: FloatArray) -> FloatArray:
        """The class logits, float32 (N, C), of features float32 (N, K, h, w)."""
        return self.answers(features)[:, : self.classes]

    def scores(self, features: FloatArray) -> FloatArray:
        """The softmax scores, float32 (N, C), of features float32 (N, K, h, w)."""
        return softmax(self.logits(features))

    def _run(self, features: FloatArray) -> list[FloatArray]:
        feed = {self._input: np.ascontiguousarray(features, np.float32)}
        return [np.concatenate(run_session(self._session, self.path, self._outputs, feed), axis=1)]


def open_tail(
    model: Path, spec: ModelSpec, providers: Sequence[str] | None, threads: int | None, precision: Precision
) -> Tail:
    """The tail of a model, with the same providers, threads and precision. Its file is in the model's folder.

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
    session = open_session(path, providers, threads, precision)
    found = session.get_modelmeta().custom_metadata_map.get(TAIL_METADATA_KEY)
    if found != spec.tail.id:
        kind = "no tail" if found is None else f"tail {found}"
        raise ModelError(
            f"{path}: found {kind}, expected tail {spec.tail.id} of {model.name}: write both again with "
            "`onnxplain instrument` (or `export`)"
        )
    return Tail(session, path, spec, spec.tail)
