"""Non-maximum suppression against OpenCV's, on random boxes."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

from onnxplain.runtime.detection.nms import suppress


def random_boxes(seed: int, count: int, side: float = 300) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    corners = rng.uniform(0, side, (count, 2))
    boxes = np.hstack([corners, corners + rng.uniform(5, 120, (count, 2))]).astype(np.float32)
    return boxes, rng.uniform(0, 1, count).astype(np.float32), rng.integers(0, 4, count)


@pytest.mark.parametrize("max_iou", [0.05, 0.3, 0.45, 0.9])
@pytest.mark.parametrize("count", [1, 2, 50, 127, 128, 129, 700])
def test_the_same_boxes_stay_as_in_opencv(count: int, max_iou: float) -> None:
    """OpenCV's float32 and our float64 differ only where an overlap is the threshold to seven digits."""
    for seed in range(3):
        boxes, scores, groups = random_boxes(seed, count)
        sizes = np.hstack([boxes[:, :2], boxes[:, 2:] - boxes[:, :2]])
        expected = cv2.dnn.NMSBoxesBatched(sizes.tolist(), scores.tolist(), groups.tolist(), 0.0, max_iou)
        found = suppress(boxes, scores, groups, max_iou)
        assert sorted(found.tolist()) == sorted(np.asarray(expected).ravel().tolist())
        assert (np.diff(scores[found]) <= 0).all()


def test_images_of_a_batch_are_groups_too() -> None:
    parts = [random_boxes(seed, 60) for seed in range(3)]
    boxes, scores = np.concatenate([part[0] for part in parts]), np.concatenate([part[1] for part in parts])
    groups = np.concatenate([part[2] + 4 * image for image, part in enumerate(parts)])
    together = suppress(boxes, scores, groups, 0.45)
    apart = [suppress(*part, 0.45) + 60 * image for image, part in enumerate(parts)]
    assert sorted(together.tolist()) == sorted(np.concatenate(apart).tolist())


def test_equal_scores_stay_in_the_order_given() -> None:
    boxes = np.array([[0, 0, 10, 10], [1, 1, 11, 11], [50, 50, 60, 60]], np.float32)
    assert suppress(boxes, np.full(3, 0.5, np.float32), np.zeros(3, int), 0.45).tolist() == [0, 2]


@pytest.mark.parametrize("box", [[5, 5, 5, 9], [9, 9, 3, 3], [0, 0, 0, 0]], ids=str)
def test_boxes_without_area_overlap_nothing(box: list[float]) -> None:
    boxes = np.array([[0, 0, 10, 10], box, box], np.float32)
    assert suppress(boxes, np.array([0.9, 0.8, 0.7], np.float32), np.zeros(3, int), 0.45).tolist() == [0, 1, 2]


def test_no_boxes() -> None:
    assert suppress(np.empty((0, 4), np.float32), np.empty(0, np.float32), np.empty(0, int), 0.45).tolist() == []
