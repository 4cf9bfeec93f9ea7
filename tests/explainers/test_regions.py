from __future__ import annotations

import numpy as np
import pytest
import scipy.ndimage

from onnxplain.errors import OnnxplainError
from onnxplain.explainers.regions import Regions, find_regions


def smooth_noise(size_hw: tuple[int, int], seed: int) -> np.ndarray:
    noise = scipy.ndimage.gaussian_filter(np.random.default_rng(seed).normal(size=size_hw), 2)
    return np.maximum(noise / noise.max(), 0).astype(np.float32)


@pytest.mark.parametrize("threshold", [0.01, 0.15, 0.5, 0.9, 1.0])
@pytest.mark.parametrize("size_hw", [(60, 80), (33, 7), (1, 50), (1, 1)])
def test_regions_are_scipys_eight_connected_components(size_hw: tuple[int, int], threshold: float) -> None:
    heatmap = smooth_noise(size_hw, seed=3) if min(size_hw) > 1 else np.linspace(0.1, 0.7, size_hw[1])[None]
    heatmap = heatmap.astype(np.float32)
    regions = find_regions(heatmap, threshold)
    labels, count = scipy.ndimage.label(heatmap >= np.float32(threshold * heatmap.max()), np.ones((3, 3)))
    expected = set()
    for index, (rows, columns) in enumerate(scipy.ndimage.find_objects(labels), start=1):
        inside = labels == index
        box = (columns.start, rows.start, columns.stop, rows.stop)
        expected.add((*box, float(heatmap[inside].max()), int(inside.sum())))
    found = {
        (*box, float(score), int(area))
        for box, score, area in zip(regions.xyxy.tolist(), regions.score, regions.area, strict=True)
    }
    assert len(regions) == count
    assert found == expected
    assert (np.diff(regions.area) <= 0).all()
    assert regions.level == pytest.approx(threshold * float(heatmap.max()))


def test_two_squares_and_a_diagonal_touch() -> None:
    heatmap = np.zeros((10, 12), np.float32)
    heatmap[1:3, 1:3] = 0.5
    heatmap[3:5, 3:5] = 1.0
    heatmap[7:9, 8:11] = 0.8
    regions = find_regions(heatmap, 0.4)
    np.testing.assert_array_equal(regions.xyxy, [[1, 1, 5, 5], [8, 7, 11, 9]])
    np.testing.assert_array_equal(regions.area, [8, 6])
    np.testing.assert_allclose(regions.score, [1.0, 0.8])
    assert regions.xyxy.dtype == np.float32
    assert regions.score.dtype == np.float32
    assert regions.area.dtype == np.int64


def test_equal_areas_are_ordered_by_heat() -> None:
    heatmap = np.zeros((3, 9), np.float32)
    heatmap[1, 1], heatmap[1, 4], heatmap[1, 7] = 0.6, 1.0, 0.8
    np.testing.assert_allclose(find_regions(heatmap, 0.5).score, [1.0, 0.8, 0.6])


def test_no_heat_gives_no_region() -> None:
    regions = find_regions(np.zeros((5, 6), np.float32), 0.15)
    assert len(regions) == 0
    assert regions.xyxy.shape == (0, 4)
    assert len(regions.to_supervision()) == 0


def test_to_supervision_keeps_boxes_scores_and_areas() -> None:
    regions = find_regions(smooth_noise((40, 50), seed=1), 0.3)
    detections = regions.to_supervision()
    np.testing.assert_array_equal(detections.xyxy, regions.xyxy)
    np.testing.assert_array_equal(detections.confidence, regions.score)
    np.testing.assert_array_equal(detections.data["area"], regions.area)


@pytest.mark.parametrize("threshold", [0.0, -0.1, 1.01, float("nan")])
def test_a_threshold_out_of_range_is_refused(threshold: float) -> None:
    with pytest.raises(OnnxplainError, match=r"^threshold: found .*expected a share"):
        find_regions(np.ones((4, 4), np.float32), threshold)


@pytest.mark.parametrize(
    "heatmap",
    [np.ones((2, 3, 4)), np.ones((0, 4)), np.full((3, 3), np.nan), np.full((3, 3), np.inf), -np.ones((3, 3))],
    ids=["three axes", "empty", "nan", "infinite", "negative"],
)
def test_a_heatmap_that_is_none_is_refused(heatmap: np.ndarray) -> None:
    with pytest.raises(OnnxplainError, match=r"^heatmap: found .*expected"):
        find_regions(heatmap, 0.5)


def test_regions_of_different_lengths_are_refused() -> None:
    with pytest.raises(OnnxplainError, match=r"^regions: found"):
        Regions(np.zeros((2, 4), np.float32), np.zeros(3, np.float32), np.zeros(2, np.int64), 0.1)
