"""The score of a localizer: share of right labels, and overlap of its boxes with the true boxes."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

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
