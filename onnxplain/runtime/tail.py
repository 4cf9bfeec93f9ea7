"""The tail of a model, the part behind its last layer: feature maps in, logits (and box) out."""

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

    `batch_size`: how many feature maps run at a time, the number that the file fixes or the largest that is worth it.
    It holds no state between calls and may be shared by threads.
    """

    def __init__(self, session: Session, path: Path, spec: ModelSpec, tail_spec: TailSpec) -> None:
        self.path = path
        self.layer = spec.layers[-1]
        self.classes = spec.classes
        self._session, self._input = session, tail_spec.input
        self._outputs = [name for name in (tail_spec.logits, tail_spec.box) if name is not None]
        batch = session.get_inputs()[0].shape[0]
        self._batches = Batches(batch if isinstance(batch, int) else None, FEATURES_AT_ONCE)
        self.batch_size = self._batches.size

    def answers(self, features: FloatArray) -> FloatArray:
        """What the heads say of features float32 (N, K, h, w), a column for each target.

        float32 (N, C): the logits; (N, C + 4) where the model has a box head: its four numbers, raw, behind them.
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
    """The tail beside a model, on the same providers and threads, in the same precision.

    Raises ModelError where the model names none, where the file is not there, or where it is the tail of another
    model, and as `open_session`.
    """
    if spec.tail is None:
        raise ModelError(
            f"{model}: found no tail in its metadata, expected one: write the model again with `onnxplain instrument` "
            "(or `export`), without --no-tail"
        )
    path = model.with_name(spec.tail.file)
    if not path.exists():
        raise ModelError(
            f"{path}: the tail file was not found beside {model.name}: put it there, or write both again with "
            "`onnxplain instrument` (or `export`)"
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
