"""Which detection finds which true box: by hand, and against a slow matching of all pairs."""

from __future__ import annotations

import numpy as np
import pytest

from onnxplain.evaluation.boxes.box_match import match_boxes
from onnxplain.runtime.box import paired_iou

A, B = [0, 0, 10, 10], [20, 0, 30, 10]


@pytest.mark.parametrize(
    ("found", "truths", "owners"),
    [
        ([(A, 0), (B, 0)], [(B, 0), (A, 0)], [1, 0]),
        ([(A, 1)], [(A, 0)], [-1]),
        ([(A, 0), (A, 0)], [(A, 0)], [0, -1]),
        ([([0, 0, 10, 5], 0)], [(A, 0)], [0]),
        ([([0, 0, 10, 4.9], 0)], [(A, 0)], [-1]),
        # The best detection takes the box that it overlaps most, the second the one that is left.
        ([([1, 0, 11, 10], 0), (A, 0)], [(A, 0), ([2, 0, 12, 10], 0)], [0, 1]),
        ([(A, 0)], [], [-1]),
        ([], [(A, 0)], []),
    ],
)
def test_by_hand(found, truths, owners) -> None:
    boxes = [np.array([box for box, _ in side], np.float32).reshape(-1, 4) for side in (found, truths)]
    classes = [np.array([each for _, each in side], np.int64) for side in (found, truths)]
    assert match_boxes(boxes[0], classes[0], boxes[1], classes[1]).tolist() == owners


def test_random_boxes_against_all_pairs() -> None:
    rng = np.random.default_rng(0)
    low = rng.uniform(0, 60, (30, 2)).astype(np.float32)
    found = np.concatenate([low, low + rng.uniform(10, 40, (30, 2)).astype(np.float32)], axis=1)
    truths = found[rng.permutation(30)[:12]] + rng.normal(0, 3, (12, 4)).astype(np.float32)
    classes, true_classes = rng.integers(0, 2, 30), rng.integers(0, 2, 12)
    expected, taken = [], set()
    for box, class_id in zip(found, classes, strict=True):
        overlaps = {
            index: float(paired_iou(box[None], truths[index : index + 1])[0])
            for index in range(12)
            if index not in taken and true_classes[index] == class_id
        }
        best = max(overlaps, key=overlaps.__getitem__, default=-1)
        expected.append(best if best >= 0 and overlaps[best] >= 0.5 else -1)
        taken.add(expected[-1])
    assert match_boxes(found, classes, truths, true_classes).tolist() == expected
    assert sum(owner >= 0 for owner in expected) > 4
