"""The score of a network: right labels and overlaps of boxes; average precision of labels; error of a number."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy.special import expit

from onnxplain.data.answer_scores import mean_absolute_error, mean_average_precision
from onnxplain.data.boxes import HIT_IOU, paired_iou
from onnxplain.data.record import Record
from onnxplain.errors import OnnxplainError

Predict = Callable[[Sequence[npt.NDArray[np.uint8]]], tuple[npt.NDArray[np.int64], npt.NDArray[np.float32]]]
"""Images, uint8 (H, W, 3) RGB of any size → class ids (N,) and boxes (N, 4) xyxy in pixels of each image."""


@dataclass(frozen=True)
class LocalizationScore:
    """`accuracy`: share of right labels. `mean_iou`: mean overlap of predicted and true box; None if no boxes were
    compared. `quality`: chooses the best weights; the mean overlap, with 0 for images with a wrong label; without boxes
    the mean probability of the right label. `count`: of images. `box_accuracy`: share of overlaps of at least HIT_IOU,
    for any label; None if no boxes were compared."""

    accuracy: float
    mean_iou: float | None
    quality: float
    count: int
    box_accuracy: float | None = None


@dataclass(frozen=True)
class MultiLabelScore:
    """`mean_average_precision`: over the labels that some image shows, in [0, 1]; 0 if none does. `accuracy`: share of
    right answers, shown or not, over all images and labels; `probability`: the mean probability of the right answer.
    `count`: of images. `quality` chooses the best weights."""

    mean_average_precision: float
    accuracy: float
    probability: float
    count: int

    @property
    def quality(self) -> float:
        """The mean average precision; where it is equal, the probability of the right answers decides."""
        return self.mean_average_precision + _TIE_BREAK * self.probability


_TIE_BREAK = 1e-3


@dataclass(frozen=True)
class NumberScore:
    """`mean_absolute_error`: in the unit of the number. `count`: of images. `quality` chooses the best weights."""

    mean_absolute_error: float
    count: int

    @property
    def quality(self) -> float:
        """The negative error."""
        return -self.mean_absolute_error


Score = LocalizationScore | MultiLabelScore | NumberScore
SCORE_TYPES: dict[str, type[LocalizationScore] | type[MultiLabelScore] | type[NumberScore]] = {
    kind.__name__: kind for kind in (LocalizationScore, MultiLabelScore, NumberScore)
}
"""The types of scores by the names under which a training state stores them."""


def score_labels(logits: npt.NDArray[np.float32], truths: npt.NDArray[np.float32]) -> MultiLabelScore:
    """The score of logits (N, L) for truths (N, L) of 0 and 1."""
    shown = truths > 0.5
    right = expit(np.where(shown, logits, -logits))
    return MultiLabelScore(
        mean_average_precision=mean_average_precision(logits, shown) or 0.0,
        accuracy=float(((logits > 0) == shown).mean()),
        probability=float(right.mean()),
        count=len(logits),
    )


def score_numbers(values: npt.NDArray[np.float32], truths: npt.NDArray[np.float32]) -> NumberScore:
    """The score of numbers (N, 1)."""
    return NumberScore(mean_absolute_error(values, truths), len(values))


def score_predictions(
    predict: Predict, records: Sequence[Record], labels: Sequence[str], *, batch_size: int = 100
) -> LocalizationScore:
    """Score `predict` on `records`, each with at least one box; a label's class id is its position in `labels`.

    Raises OnnxplainError for no records, or for a record without a box.
    """
    if not len(records):
        raise OnnxplainError("score: found no records, expected at least one")
    hits: list[npt.NDArray[np.bool_]] = []
    overlaps: list[npt.NDArray[np.float32]] = []
    for start in range(0, len(records), batch_size):
        chunk = [records[index] for index in range(start, min(start + batch_size, len(records)))]
        class_ids, boxes_xyxy = predict([record.load() for record in chunk])
        hits.append(class_ids == np.array([labels.index(record.label) for record in chunk]))
        overlaps.append(best_overlaps(boxes_xyxy, [record.boxes_xyxy for record in chunk]))
    return score_boxes(np.concatenate(hits), np.concatenate(overlaps))


def score_boxes(hits: npt.NDArray[np.bool_], overlaps: npt.NDArray[np.float32]) -> LocalizationScore:
    """The score from `hits`, whether each label is right (N,), and overlaps (N,)."""
    return LocalizationScore(
        accuracy=float(hits.mean()),
        mean_iou=float(overlaps.mean()),
        quality=float((hits * overlaps).mean()),
        count=len(hits),
        box_accuracy=float((overlaps >= HIT_IOU).mean()),
    )


def best_overlaps(
    boxes_xyxy: npt.NDArray[np.floating], true_xyxy: Sequence[npt.NDArray[np.floating]]
) -> npt.NDArray[np.float32]:
    """Intersection over union of each box (N, 4) with the nearest true box of its image, N arrays (M, 4).

    Returns float32 (N,). Raises OnnxplainError if an image has no true box.
    """
    counts = [len(boxes) for boxes in true_xyxy]
    if not all(counts):
        raise OnnxplainError("score: found an image without a box, expected at least one in each")
    overlaps = paired_iou(np.repeat(boxes_xyxy, counts, axis=0), np.concatenate(true_xyxy))
    best: npt.NDArray[np.float32] = np.maximum.reduceat(overlaps, np.cumsum([0, *counts[:-1]]))
    return best


def true_boxes(records: Sequence[Record]) -> npt.NDArray[np.float32]:
    """The one box of each record, float32 (N, 4) xyxy in pixels."""
    for record in records:
        if len(record.boxes_xyxy) != 1:
            raise OnnxplainError(f"record {record.name}: found {len(record.boxes_xyxy)} boxes, expected exactly one")
    return np.concatenate([record.boxes_xyxy for record in records])
