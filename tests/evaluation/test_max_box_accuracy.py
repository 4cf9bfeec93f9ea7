from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
import supervision

from onnxplain.data import open_dataset
from onnxplain.errors import OnnxplainError
from onnxplain.evaluation.metrics.max_box_accuracy import LevelOverlaps, level_overlaps, scoremap

THRESHOLDS = np.arange(0, 1, 0.001)


def smooth(size_hw: tuple[int, int], seed: int, sigma: float) -> np.ndarray:
    noise = np.random.default_rng(seed).random(size_hw)
    return cv2.GaussianBlur(noise, (0, 0), sigma) if sigma else noise


def rings() -> np.ndarray:
    """Regions with holes, regions in holes, thin lines and single pixels, up to the map's edge."""
    heatmap = np.zeros((224, 224))
    for level, radius in enumerate(range(100, 5, -12), start=1):
        cv2.circle(heatmap, (112, 112), radius, level / 9, 1 + 4 * (level % 2))
    heatmap[::16, 200:] = 0.95
    heatmap[5:40:3, 7:60:3] = 1.0
    heatmap[:, 223] = 0.7
    return heatmap


MAPS = {
    "blobs": smooth((224, 224), 0, 14),
    "grain": smooth((224, 224), 1, 2),
    "coarse grid": cv2.resize(smooth((7, 7), 2, 0), (224, 224), interpolation=cv2.INTER_CUBIC),
    "few levels": np.round(smooth((224, 224), 3, 10) * 40) / 40,
    "rings": rings(),
    "one pixel": np.eye(224)[:1].repeat(224, 0) * np.eye(224)[:, :1],
    "constant": np.full((224, 224), 0.3),
    "constant, another size": np.full((97, 143), 0.3),
    "not finite": np.where(smooth((224, 224), 4, 9) > 0.5, np.nan, 1),
    "another size": smooth((97, 143), 5, 9),
    "float32": smooth((224, 224), 6, 9).astype(np.float32),
}
BOXES = np.array([[10.0, 20.0, 170.0, 190.0], [100.0, 5.0, 320.0, 120.0], [300.0, 150.0, 301.0, 151.0]], np.float32)
SIZE_HW = (200, 320)


def boxes_at(heatmap: np.ndarray, threshold: float) -> tuple[list[list[int]], int]:
    """The definition, one threshold at a time: each contour's first and last x and y, and which contour is largest."""
    if np.isnan(heatmap).any() or heatmap.min() == heatmap.max():
        heatmap = np.zeros_like(heatmap)
    else:
        heatmap = heatmap - heatmap.min()
        heatmap = heatmap / heatmap.max()
    image = (heatmap * 255).astype(np.uint8)
    above = np.uint8(image > int(threshold * image.max()))
    contours = cv2.findContours(above, cv2.RETR_TREE, cv2.CHAIN_APPROX_SIMPLE)[0]
    if not contours:
        return [[0, 0, 0, 0]], 0
    boxes = []
    for contour in contours:
        (x0, y0), (x1, y1) = contour[:, 0].min(axis=0), contour[:, 0].max(axis=0)
        boxes.append([x0, y0, min(x1 + 1, 223), min(y1 + 1, 223)])
    return boxes, int(np.argmax([cv2.contourArea(contour) for contour in contours]))


def overlaps_of(boxes: list[list[int]], truths: list[tuple[int, int, int, int]]) -> np.ndarray:
    """supervision's IoU of half-open boxes, which counts both ends of these; the best over the ground truth, (K,)."""
    ends = np.array([0, 0, 1, 1])
    return supervision.box_iou_batch(np.array(boxes) + ends, np.array(truths) + ends).max(axis=1)


def truths_in_scoremap(boxes: np.ndarray, size_hw: tuple[int, int]) -> list[tuple[int, int, int, int]]:
    (height, width), truths = size_hw, []
    for x0, y0, stop_x, stop_y in boxes.tolist():
        x1, y1 = stop_x - 1, stop_y - 1
        truths.append((int(x0 * 224 / width), int(y0 * 224 / height), int(x1 * 224 / width), int(y1 * 224 / height)))
    return truths


@pytest.mark.parametrize("name", MAPS)
def test_each_of_a_thousand_thresholds_gives_the_same_boxes_and_overlaps(name: str) -> None:
    heatmap = MAPS[name]
    found = level_overlaps(heatmap, BOXES, SIZE_HW)
    given = heatmap if heatmap.shape == (224, 224) else scoremap(heatmap)
    truths = truths_in_scoremap(BOXES, SIZE_HW)
    answers: dict[int, tuple[float, float]] = {}
    for threshold in THRESHOLDS:
        level = int(threshold * 255)
        if level not in answers:
            boxes, chief = boxes_at(given, threshold)
            overlaps = overlaps_of(boxes, truths)
            answers[level] = overlaps[chief], overlaps.max()
        assert found.largest[level] == np.float32(answers[level][0])
        assert found.any_region[level] == np.float32(answers[level][1])
    assert list(answers) == list(range(255))


def test_a_heatmap_of_another_size_is_resized_before_its_range_is_taken() -> None:
    heatmap = MAPS["another size"]
    resized = cv2.resize(heatmap, (224, 224), interpolation=cv2.INTER_CUBIC)
    np.testing.assert_array_equal(scoremap(heatmap), (resized - resized.min()) / (resized - resized.min()).max())


@pytest.mark.parametrize("name", ["float32", "another size"])
def test_a_scoremap_is_its_own_scoremap(name: str) -> None:
    """So a heatmap that was saved scores as it did before."""
    once = scoremap(MAPS[name].astype(np.float32))
    assert once.dtype == np.float32
    assert once.min() == 0 and once.max() == 1
    np.testing.assert_array_equal(scoremap(once), once)


def test_boxes_of_the_benchmark_come_back_as_they_were_written(tmp_path: Path) -> None:
    """Its lists count the last pixel in; the record's boxes end behind it."""
    cv2.imwrite(str(tmp_path / "a.png"), np.zeros((*SIZE_HW, 3), np.uint8))
    (tmp_path / "image_ids.txt").write_text("a.png\n")
    (tmp_path / "class_labels.txt").write_text("a.png,0\n")
    (tmp_path / "localization.txt").write_text("a.png,30,40,299,180\n")
    record = open_dataset(tmp_path).records[0]
    x0, y0, x1, y1 = 30 * 224 // 320, 40 * 224 // 200, 299 * 224 // 320, 180 * 224 // 200
    heatmap = np.zeros((224, 224))
    # A region whose box, which ends one behind its last pixel, is the benchmark's.
    heatmap[y0:y1, x0:x1] = 1
    found = level_overlaps(heatmap, record.boxes_xyxy, SIZE_HW)
    assert (found.largest == 1).all()


@pytest.mark.parametrize(("iou", "largest", "any_region"), [(0.3, 2, 3), (0.5, 1, 2), (0.7, 0, 2)])
def test_hits_are_overlaps_of_at_least_the_iou(iou: float, largest: int, any_region: int) -> None:
    first, second = np.zeros((2, 255), np.float32)
    first[:2], second[:3] = (0.3, 0.5), (0.3, 0.7, 0.7)
    overlaps = LevelOverlaps(first, second)
    assert overlaps.hits(iou).sum() == largest
    assert overlaps.any_hits(iou).sum() == any_region


def test_a_box_at_each_cut_is_checked_against_every_ground_truth() -> None:
    heatmap = np.zeros((224, 224))
    heatmap[10:50, 10:60] = 1
    heatmap[100:200, 100:180] = 0.5
    both = np.array([[10, 10, 61, 51], [100, 100, 181, 201]])
    found = level_overlaps(heatmap, both, (224, 224))
    assert (found.largest == 1).all()
    only_small = level_overlaps(heatmap, both[:1], (224, 224))
    # Under half of the maximum the larger region is the map's box, and the smaller one still is a region.
    assert (only_small.largest[:127] == 0).all() and (only_small.largest[127:] == 1).all()
    assert (only_small.any_region == 1).all()


@pytest.mark.parametrize(
    ("heatmap", "boxes", "message"),
    [
        (np.ones((4, 4)), np.empty((0, 4)), r"^boxes: found shape \(0, 4\)"),
        (np.ones((4, 4)), np.ones(4), r"^boxes: found shape \(4,\)"),
        (np.ones((4, 4, 1)), BOXES, r"^heatmap: found shape \(4, 4, 1\)"),
        (np.ones((0, 4)), BOXES, r"^heatmap: found shape \(0, 4\)"),
    ],
)
def test_what_cannot_be_scored_is_refused(heatmap: np.ndarray, boxes: np.ndarray, message: str) -> None:
    with pytest.raises(OnnxplainError, match=message):
        level_overlaps(heatmap, boxes, (4, 4))


@pytest.mark.parametrize(
    "change", [{"largest": np.zeros(254, np.float32)}, {"any_region": np.zeros(255)}], ids=["length", "type"]
)
def test_overlaps_of_other_arrays_are_refused(change: dict[str, np.ndarray]) -> None:
    good = LevelOverlaps(*np.zeros((2, 255), np.float32))
    with pytest.raises(OnnxplainError, match=r"^level overlaps: found .* expected float32 \(255,\)"):
        replace(good, **change)
