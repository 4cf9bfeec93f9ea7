"""Mean average precision of a detector, as Roboflow's supervision computes it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from onnxplain.extras import needs_extra

if TYPE_CHECKING:
    import supervision

MOST_DETECTIONS = 100
"""Detections of an image that count, the best ones: COCO's maxDets."""
LOWEST_SCORE = 0.001
"""Detections below this score do not count. They could hardly change the area under the curve."""


@dataclass(frozen=True)
class MeanAveragePrecisions:
    """In [0, 1]: the mean over IoU 0.50, 0.55 … 0.95, and at IoU 0.50 and 0.75; None if there is no true box."""

    mean_average_precision: float | None
    map_50: float | None
    map_75: float | None


def mean_average_precisions(rows: Iterable[Mapping[str, Any]]) -> MeanAveragePrecisions:
    """The mean average precision over all images.

    `rows`: per image ``detections``, a list of {xyxy, score, class_id}, best first, and ``truths``, a list of {xyxy,
    class_id}. The average precision of a class is the mean of the largest precision at 101 recalls (Lin et al.,
    Microsoft COCO, 2014), the mean is over the classes that have a true box. Raises OnnxplainError if supervision is
    not installed.
    """
    with needs_extra("metrics", "mean average precision needs it"):
        import supervision.metrics
    metric = supervision.metrics.MeanAveragePrecision()
    truths = 0
    for row in rows:
        metric.update([_detections(row["detections"])], [_detections(row["truths"])])
        truths += len(row["truths"])
    if not truths:
        return MeanAveragePrecisions(None, None, None)
    found = metric.compute()
    return MeanAveragePrecisions(float(found.map50_95), float(found.map50), float(found.map75))


def _detections(entries: list[Mapping[str, Any]]) -> supervision.Detections:
    import supervision

    scores = [entry.get("score", 1.0) for entry in entries]
    return supervision.Detections(
        xyxy=np.array([entry["xyxy"] for entry in entries], np.float32).reshape(-1, 4),
        class_id=np.array([entry["class_id"] for entry in entries], np.int64),
        confidence=np.array(scores, np.float32),
    )
