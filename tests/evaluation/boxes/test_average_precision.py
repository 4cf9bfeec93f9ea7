"""Mean average precision: by hand, and against the algorithm of pycocotools."""

from __future__ import annotations

import sys

import numpy as np
import pytest

from onnxplain.errors import OnnxplainError
from onnxplain.evaluation.boxes.average_precision import mean_average_precisions

pytest.importorskip("supervision", reason="needs the metrics extra")

A, B, AWAY = [0, 0, 10, 10], [20, 20, 40, 40], [60, 60, 70, 70]


def row(found, truths) -> dict:
    return {
        "detections": [{"xyxy": box, "class_id": class_id, "score": score} for box, class_id, score in found],
        "truths": [{"xyxy": box, "class_id": class_id} for box, class_id in truths],
    }


@pytest.mark.parametrize(
    ("rows", "expected"),
    [
        ([row([(A, 0, 0.9), (B, 1, 0.8)], [(A, 0), (B, 1)])], (1, 1, 1)),
        ([row([], [(A, 0)])], (0, 0, 0)),
        # One class found, the other not.
        ([row([(A, 0, 0.9)], [(A, 0), (B, 1)])], (0.5, 0.5, 0.5)),
        # The wrong box comes first: precision 1/2 at every recall.
        ([row([(AWAY, 0, 0.95), (A, 0, 0.9)], [(A, 0)])], (0.5, 0.5, 0.5)),
        # IoU 0.6 counts at 0.50, 0.55 and 0.60.
        ([row([([0, 0, 10, 6], 0, 0.9)], [(A, 0)])], (0.3, 1, 0)),
        # Two true boxes of one class, one found: recalls up to 0.5 have precision 1, 51 of 101.
        ([row([(A, 0, 0.9)], [(A, 0), (B, 0)])], (51 / 101,) * 3),
        # A better detection in an image where it is wrong counts too.
        ([row([(A, 0, 0.9)], [(A, 0)]), row([(A, 0, 0.95)], [(B, 0)])], (51 / 101 / 2,) * 3),
        ([row([(A, 0, 0.9)], [])], (None,) * 3),
    ],
)
def test_by_hand(rows, expected) -> None:
    found = mean_average_precisions(rows)
    assert (found.mean_average_precision, found.map_50, found.map_75) == pytest.approx(expected, abs=1e-6)


def test_without_the_library_the_error_names_it(monkeypatch) -> None:
    monkeypatch.setitem(sys.modules, "supervision", None)
    with pytest.raises(OnnxplainError, match=r'supervision: not installed.*pip install "onnxplain\[metrics\]"'):
        mean_average_precisions([])


def coco_average_precision(rows, min_iou: float) -> float:
    """pycocotools' COCOeval (accumulate and evaluateImg) for one IoU and boxes of every size, the mean over classes."""
    precisions = []
    for class_id in sorted({truth["class_id"] for each in rows for truth in each["truths"]}):
        scored, count = [], 0
        for each in rows:
            truths = [truth["xyxy"] for truth in each["truths"] if truth["class_id"] == class_id]
            found = [entry for entry in each["detections"] if entry["class_id"] == class_id]
            free = set(range(len(truths)))
            count += len(truths)
            for entry in sorted(found, key=lambda one: -one["score"]):
                overlaps = {index: overlap(entry["xyxy"], truths[index]) for index in free}
                best = max(overlaps, key=overlaps.__getitem__, default=None)
                hit = best is not None and overlaps[best] >= min_iou
                free -= {best} if hit else set()
                scored.append((entry["score"], hit))
        hits = np.array([hit for _, hit in sorted(scored, key=lambda one: -one[0])], bool)
        recall = np.cumsum(hits) / count
        precision = np.cumsum(hits) / np.arange(1, len(hits) + 1)
        reached = [precision[recall >= level] for level in np.linspace(0, 1, 101)]
        precisions.append(np.mean([each.max() if len(each) else 0 for each in reached]))
    return float(np.mean(precisions))


def overlap(box, other) -> float:
    width = min(box[2], other[2]) - max(box[0], other[0])
    height = min(box[3], other[3]) - max(box[1], other[1])
    both = max(width, 0) * max(height, 0)
    areas = [(each[2] - each[0]) * (each[3] - each[1]) for each in (box, other)]
    return both / (sum(areas) - both)


def test_random_boxes_against_the_algorithm_of_pycocotools() -> None:
    rng = np.random.default_rng(0)
    rows = []
    for _ in range(12):
        low = rng.uniform(0, 200, (rng.integers(0, 6), 2))
        truths = np.concatenate([low, low + rng.uniform(20, 80, low.shape)], axis=1)
        classes = rng.integers(0, 3, len(truths))
        # Several detections per true box, of different quality, some with another class.
        found = np.repeat(truths, 4, axis=0) + rng.normal(0, 5, (4 * len(truths), 4))
        found_classes = np.where(rng.random(len(found)) < 0.8, np.repeat(classes, 4), rng.integers(0, 3, len(found)))
        rows.append(
            row(
                zip(found.tolist(), found_classes.tolist(), rng.random(len(found)).tolist(), strict=True),
                zip(truths.tolist(), classes.tolist(), strict=True),
            )
        )
    found = mean_average_precisions(rows)
    expected = {level: coco_average_precision(rows, level / 100) for level in range(50, 100, 5)}
    assert found.map_50 == pytest.approx(expected[50], abs=1e-6)
    assert found.map_75 == pytest.approx(expected[75], abs=1e-6)
    assert found.mean_average_precision == pytest.approx(np.mean(list(expected.values())), abs=1e-6)
    assert 0.05 < found.map_75 < found.map_50 < 0.9
