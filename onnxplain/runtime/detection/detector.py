"""A detector that is open: images in, detections out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from onnxplain.contract import ModelSpec, Quantization
from onnxplain.contract.detectors import DetectorSpec
from onnxplain.contract.quantization import IntegerType
from onnxplain.errors import OnnxplainError, UnsupportedError
from onnxplain.runtime.arrays import AnyArray, FloatArray
from onnxplain.runtime.detection.columns import DetectorColumns, read_columns
from onnxplain.runtime.detection.decode import Candidates, decode_candidates
from onnxplain.runtime.detection.detections import DEFAULT_MAX_IOU, DEFAULT_MIN_SCORE, Detections
from onnxplain.runtime.detection.detector_file import read_quantization
from onnxplain.runtime.detection.nms import suppress
from onnxplain.runtime.feed import Feed, Opened
from onnxplain.runtime.geometry import Frame
from onnxplain.runtime.sessions.batches import Batches, fill_up
from onnxplain.runtime.sessions.session import Session, run_session
from onnxplain.runtime.target import PREDICTED_CLASS

_DTYPES: Mapping[str, IntegerType] = {"tensor(uint8)": "uint8", "tensor(int8)": "int8"}


class Detector:
    """Runs the session of a detector and reads its outputs. It holds no state between calls."""

    def __init__(self, session: Session, path: Path, spec: ModelSpec, feed: Feed, batches: Batches) -> None:
        self._session, self._path, self._feed = session, path, feed
        self._labels, self.size_hw = spec.labels, spec.input.size_hw
        if spec.detector is None:
            raise no_detector_error(path)
        self.spec = spec.detector
        dtypes = {tensor.name: _DTYPES[tensor.type] for tensor in session.get_outputs() if tensor.type in _DTYPES}
        self._quantized = read_quantization(path, self.spec, dtypes)
        self.score_step = _score_step(self.spec, self._quantized)
        self._fixed = batches.fixed
        # Without a batch axis, outputs do not say which image a row belongs to.
        self.batches = Batches(None, 1) if self.spec.layout.one_image else batches

    def detect(self, pixels: FloatArray, frames: Sequence[Frame], min_score: float, max_iou: float) -> list[Detections]:
        """The detections of a batch float32 (N, C, H, W), N at most a batch of `batches`; one frame per image."""
        check_share("min_score", min_score)
        check_share("iou", max_iou)
        columns = self.read(self.run(pixels))
        return [self.place(each, frame, min_score, max_iou) for each, frame in zip(columns, frames, strict=False)]

    def run(self, pixels: FloatArray) -> dict[str, AnyArray]:
        """The outputs of the layout by name, unchanged, with those of the images that fill a fixed batch up."""
        filled = pixels if self._fixed is None else fill_up(pixels, self._fixed)
        targets = np.full(len(filled), PREDICTED_CLASS, np.int64)
        # An input for the size of the image is given that of the model's input: so boxes come in pixels of the input,
        # as those of all layouts, and the frame takes them to the photo.
        inputs = self._feed.arrays(filled, targets, Opened())
        names = self.spec.output_names
        return dict(zip(names, run_session(self._session, self._path, names, inputs), strict=True))

    def read(self, outputs: Mapping[str, AnyArray]) -> list[DetectorColumns]:
        """The columns of each image, from the outputs that the session returned, by name."""
        return read_columns(self.spec, outputs, self._quantized)

    def place(
        self,
        columns: DetectorColumns,
        frame: Frame,
        min_score: float = DEFAULT_MIN_SCORE,
        max_iou: float = DEFAULT_MAX_IOU,
    ) -> Detections:
        """The detections among the candidates of one image, in pixels of the image."""
        found = decode_candidates(self.spec, columns, self.size_hw, min_score, self.score_step)
        return self._place(found, frame, max_iou)

    def _place(self, found: Candidates, frame: Frame, max_iou: float) -> Detections:
        """Candidates without those that overlap better ones, in pixels of the image."""
        boxes = found.boxes_xyxy
        placed = frame.boxes_to_image(np.nan_to_num(boxes))
        usable = np.isfinite(boxes).all(axis=1) & (placed[:, 2:] > placed[:, :2]).all(axis=1)
        usable_rows = np.flatnonzero(usable)
        if self.spec.layout.nms:
            scores, class_ids = found.scores[usable_rows], found.class_ids[usable_rows]
            rows = usable_rows[suppress(boxes[usable_rows], scores, class_ids, max_iou)]
        else:
            rows = usable_rows[np.argsort(-found.scores[usable_rows], kind="stable")]
        return Detections(
            xyxy=placed[rows],
            confidence=found.scores[rows],
            class_id=found.class_ids[rows],
            candidate=found.index[rows],
            labels=self._labels,
            best_score=found.best_score,
            unusable=found.not_finite + int(np.count_nonzero(~usable)),
            score_step=self.score_step,
        )


def _score_step(spec: DetectorSpec, quantized: Mapping[str, Quantization]) -> float:
    """The step of the outputs of eight bits that hold scores; 0 where they are float."""
    steps = [
        quantized[name].scale
        for output, names in zip(spec.layout.outputs, spec.outputs, strict=True)
        for name in names
        if name in quantized and {"classes", "score", "objectness"}.intersection(output.columns)
    ]
    return max(steps, default=0.0)


def open_detector(session: Session, path: Path, spec: ModelSpec, feed: Feed, batches: Batches) -> Detector | None:
    """The detector that a spec describes; None for another model."""
    return None if spec.detector is None else Detector(session, path, spec, feed, batches)


def no_detector_error(path: Path) -> UnsupportedError:
    """The error for a model that is no detector."""
    return UnsupportedError(
        f"{path}: found a model with classes, expected a detector: use predict(), or state its layout with --detector "
        "(detector=…)"
    )


def refuse_detector(spec: ModelSpec, path: Path) -> None:
    """Raise UnsupportedError for a detector where a model with classes is needed."""
    if spec.detector is not None:
        raise UnsupportedError(f"{path}: {spec.detector.no_heads}")


def check_share(name: str, value: float) -> None:
    """Raise OnnxplainError unless a number lies in [0, 1]."""
    if not 0 <= value <= 1:
        raise OnnxplainError(f"{name}: found {value}, expected a number from 0 to 1")
