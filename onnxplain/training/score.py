"""How good a localizer is: right labels, and boxes that overlap the true ones."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from onnxplain.data.boxes import paired_iou
from onnxplain.data.record import Record
from onnxplain.errors import OnnxplainError

Predict = Callable[[Sequence[npt.NDArray[np.uint8]]], tuple[npt.NDArray[np.int64], npt.NDArray[np.float32]]]
"""Images, uint8 (H, W, 3) RGB of any size → class ids (N,) and boxes (N, 4) xyxy in pixels of each image."""


@dataclass(frozen=True)
class LocalizationScore:
    """`accuracy`: share of right labels. `mean_iou`: mean overlap of predicted and true box.
    `quality`: mean overlap, 0 where the label is wrong. `count`: images."""

    accuracy: float
    mean_iou: float
    quality: float
    count: int


def score_predictions(
    predict: Predict, records: Sequence[Record], labels: Sequence[str], *, batch_size: int = 100
) -> LocalizationScore:
    """Score `predict` on `records`, each of one box; `labels` gives the class id of each label.

    Raises OnnxplainError for no records, or for a record with another number of boxes.
    """
    if not len(records):
        raise OnnxplainError("score: no records, expected at least one")
    hits: list[npt.NDArray[np.bool_]] = []
    overlaps: list[npt.NDArray[np.float32]] = []
    for start in range(0, len(records), batch_size):
        chunk = [records[index] for index in range(start, min(start + batch_size, len(records)))]
        class_ids, boxes_xyxy = predict([record.load() for record in chunk])
        hits.append(class_ids == np.array([labels.index(record.label) for record in chunk]))
        overlaps.append(paired_iou(boxes_xyxy, true_boxes(chunk)))
    hit, overlap = np.concatenate(hits), np.concatenate(overlaps)
    return LocalizationScore(float(hit.mean()), float(overlap.mean()), float((hit * overlap).mean()), len(hit))


def true_boxes(records: Sequence[Record]) -> npt.NDArray[np.float32]:
    """The one box of each record, float32 (N, 4) xyxy in pixels."""
    for record in records:
        if len(record.boxes_xyxy) != 1:
            raise OnnxplainError(f"record {record.name}: {len(record.boxes_xyxy)} boxes, expected exactly one")
    return np.concatenate([record.boxes_xyxy for record in records])
