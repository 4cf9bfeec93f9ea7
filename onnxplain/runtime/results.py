"""The results of the engine: frozen values. Their shapes are checked on construction."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt

from onnxplain.contract import LayerSpec
from onnxplain.errors import OnnxplainError
from onnxplain.runtime.answers import Answer
from onnxplain.runtime.arrays import AnyArray, FloatArray
from onnxplain.runtime.box import Corners
from onnxplain.runtime.geometry import Frame
from onnxplain.runtime.images.prepared import PreparedImage

BoxSource = Literal["head", "cam", "grad-cam"]


def _check_shape(name: str, array: npt.NDArray[np.generic], expected: tuple[int | None, ...]) -> None:
    matches = array.ndim == len(expected) and all(
        wanted is None or found == wanted for found, wanted in zip(array.shape, expected, strict=True)
    )
    if not matches:
        wanted_text = ", ".join("any" if side is None else str(side) for side in expected)
        raise OnnxplainError(f"{name}: found shape {array.shape}, expected ({wanted_text})")


@dataclass(frozen=True, eq=False)
class Prediction:
    """The model's prediction for one image.

    `score` is the softmax score of class `class_id`; `scores`, float32 (C,), are the scores of all classes.
    `box_xyxy` is x1, y1, x2, y2 in pixels of the original image, None without a box; `box_source` says where it came
    from. `labels` are the names of the classes, empty if the file has none.
    """

    label: str
    class_id: int
    score: float
    box_xyxy: Corners | None
    box_source: BoxSource | None
    scores: FloatArray
    labels: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        _check_shape("prediction scores", self.scores, (len(self.labels) or None,))
        if (self.box_xyxy is None) != (self.box_source is None):
            raise OnnxplainError("prediction: found only one of box_xyxy and box_source, expected both or none")

    def __repr__(self) -> str:
        box = "" if self.box_xyxy is None else f", box {', '.join(f'{side:.0f}' for side in self.box_xyxy)}"
        return f"<{self.label} (class {self.class_id} of {len(self.scores)}), score {self.score:.3f}{box}>"

    def _repr_html_(self) -> str:
        from html import escape

        rows = "".join(f"<tr><td>{escape(label)}</td><td>{score:.3f}</td></tr>" for _, label, score in self.top(5))
        return f"<table><tr><th>label</th><th>score</th></tr>{rows}</table>"

    @classmethod
    def from_scores(
        cls,
        scores: FloatArray,
        labels: tuple[str, ...] = (),
        box_xyxy: Corners | None = None,
        box_source: BoxSource | None = None,
    ) -> Prediction:
        """The prediction of the best class from scores float32 (C,). Without labels its label is its index."""
        best = int(scores.argmax())
        label = labels[best] if labels else str(best)
        return cls(label, best, float(scores[best]), box_xyxy, box_source, scores, labels)

    def top(self, k: int) -> list[tuple[int, str, float]]:
        """The k best classes as (class_id, label, score), best first. Equal scores are ordered by class index."""
        order = np.argsort(-self.scores, kind="stable")[:k]
        return [
            (int(index), self.labels[index] if self.labels else str(index), float(self.scores[index]))
            for index in order
        ]


@dataclass(frozen=True, eq=False)
class Activations:
    """Feature maps of one layer, and the gradients of one scalar per image with respect to them.

    `features`: float32 (N, K, h, w). `gradients`: the same shape, None if not asked for. `target`: int64 (N,), the
    scalar that was differentiated, an entry of the model's numbering. `frames`: one per image.

    `scores`: float32 (N, C), the shown scores of the default head: for classes the softmax. `logits`: float32 (N, C),
    the numbers of its entries that are differentiated; None if the file has none. `entry_scores` and `entries`: the
    same two for every entry of every head, float32 (N, T); None where only the default head was read. A cosine is NaN
    without a reference. `answers`: for each image one per head; empty where they were not read.
    """

    layer: LayerSpec
    features: FloatArray
    gradients: FloatArray | None
    logits: FloatArray | None
    scores: FloatArray
    target: npt.NDArray[np.int64]
    frames: tuple[Frame, ...]
    entries: FloatArray | None = None
    entry_scores: FloatArray | None = None
    answers: tuple[tuple[Answer, ...], ...] = ()

    def __post_init__(self) -> None:
        count = len(self.frames)
        for title, array in (("entries", self.entries), ("entry scores", self.entry_scores)):
            if array is not None:
                _check_shape(title, array, (count, None))
        name = f"layer {self.layer.name}"
        _check_shape(f"{name} features", self.features, (count, self.layer.channels, None, None))
        if self.gradients is not None:
            _check_shape(f"{name} gradients", self.gradients, self.features.shape)
        _check_shape("scores", self.scores, (count, None))
        if self.logits is not None:
            _check_shape("logits", self.logits, self.scores.shape)
        _check_shape("target", self.target, (count,))


@dataclass(frozen=True, eq=False)
class Batch:
    """Images ready for the model.

    `pixels`: float32 (N, C, H, W), normalised. `frames`: one per image. `images`: the originals as `read_pixels`
    returns them, (H, W, C), each of its own size: uint8 RGB for photos.
    """

    pixels: FloatArray
    frames: tuple[Frame, ...]
    images: tuple[AnyArray, ...]

    def __post_init__(self) -> None:
        _check_shape("batch pixels", self.pixels, (len(self.frames), None, None, None))
        if len(self.images) != len(self.frames):
            raise OnnxplainError(
                f"batch: found {len(self.images)} images and {len(self.frames)} frames, expected as many"
            )

    @classmethod
    def of(cls, images: Sequence[PreparedImage]) -> Batch:
        """Images that are ready one by one, all for the same model."""
        return cls(
            np.stack([image.input for image in images]),
            tuple(image.frame for image in images),
            tuple(image.pixels for image in images),
        )

    @property
    def image_sizes_hw(self) -> npt.NDArray[np.int64]:
        """Height and width of each original image, int64 (N, 2)."""
        return np.asarray([frame.image_size_hw for frame in self.frames], np.int64)
