from __future__ import annotations

import numpy as np
import pytest
import scipy.ndimage

from onnxplain.errors import OnnxplainError
from onnxplain.explainers.explanation import Explanation
from onnxplain.explainers.regions import Regions, find_regions
from onnxplain.explainers.stable_threshold import stable_threshold
from onnxplain.runtime.box import paired_iou
from onnxplain.runtime.geometry import make_frame


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


@pytest.mark.parametrize("threshold", [0.0, -0.1, 1.01, float("nan"), "stabil", "0.5"])
def test_a_threshold_out_of_range_is_refused(threshold: float | str) -> None:
    with pytest.raises(OnnxplainError, match=r"^threshold: found .*expected a (share|finite number)"):
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


def disc(radius: float, background: float, seed: int = 0, size_hw: tuple[int, int] = (120, 160)) -> np.ndarray:
    """A soft disc in the middle of weaker blobs; half of its heat is left at `radius`."""
    rows, columns = np.indices(size_hw) + 0.5
    distance = np.hypot(rows - size_hw[0] / 2, columns - size_hw[1] / 2)
    noise = scipy.ndimage.gaussian_filter(np.random.default_rng(seed).random(size_hw), 5)
    noise = (noise - noise.min()) / np.ptp(noise)
    heatmap = 1 / (1 + np.exp((distance - radius) / (radius / 16))) + background * noise
    return (heatmap / heatmap.max()).astype(np.float32)


def disc_box(radius: float, size_hw: tuple[int, int] = (120, 160)) -> np.ndarray:
    (y, x) = size_hw[0] / 2, size_hw[1] / 2
    return np.array([[x - radius, y - radius, x + radius, y + radius]])


@pytest.mark.parametrize("radius", [12, 25, 45])
@pytest.mark.parametrize("background", [0.0, 0.2, 0.35])
def test_the_stable_threshold_finds_an_object_over_any_background(radius: int, background: float) -> None:
    regions = find_regions(disc(radius, background), "stable")
    assert paired_iou(regions.xyxy[:1], disc_box(radius))[0] > 0.8


def test_the_stable_threshold_is_the_one_whose_neighbours_agree_most() -> None:
    """By the regions themselves, each level one after the other."""
    heatmap = disc(25, 0.35, seed=2)
    boxes = [find_regions(heatmap, level / 255).xyxy[:1] for level in range(1, 256)]
    everything = boxes[0]
    stability = {}
    for level in range(39, 171):
        box, lower, upper = (boxes[round(at) - 1] for at in (level, level / 1.5, level * 1.5))
        area, whole_area = ((side[0, 2:] - side[0, :2]).prod() for side in (box, everything))
        if paired_iou(box, everything)[0] < 0.95 and area >= 0.001 * whole_area:
            stability[level] = paired_iou(lower, upper)[0]
    best = [level for level, value in stability.items() if value == max(stability.values())]
    assert stable_threshold(heatmap) == best[len(best) // 2] / 255
    assert 0.15 <= best[0] / 255 <= best[-1] / 255 <= 1 / 1.5


@pytest.mark.parametrize("share", [1.0, 0.25])
def test_stable_regions_are_those_of_their_threshold(share: float) -> None:
    heatmap = share * disc(25, 0.2)
    regions = find_regions(heatmap, "stable")
    same = find_regions(heatmap, stable_threshold(heatmap))
    np.testing.assert_array_equal(regions.xyxy, same.xyxy)
    assert regions.level == same.level == pytest.approx(stable_threshold(heatmap) * share)


def test_a_large_heatmap_has_the_box_of_its_small_copy() -> None:
    small = disc(25, 0.35)
    large = np.kron(small, np.ones((8, 8), np.float32))
    boxes = [find_regions(heatmap, "stable").xyxy[:1] for heatmap in (small, large)]
    assert paired_iou(boxes[0], boxes[1] / 8)[0] > 0.9


FLAT = np.zeros((60, 80), np.float32)
FLAT[20:40, 10:50] = 1
FLAT_WITH_SPECK = 0.9 * FLAT
FLAT_WITH_SPECK[5, 70] = 1.0
FAINT = np.full((60, 80), 0.3, np.float32)
FAINT[20:40, 10:50] = 1


@pytest.mark.parametrize(
    ("heatmap", "box"),
    [
        (FLAT, [10, 20, 50, 40]),
        (FLAT_WITH_SPECK, [10, 20, 50, 40]),
        # at a third of the maximum and below the whole image is as stable as the patch
        (FAINT, [10, 20, 50, 40]),
        (np.ones((60, 80)), [0, 0, 80, 60]),
        (np.eye(1), [0, 0, 1, 1]),
        (np.eye(40)[7:8].repeat(2, 0), [7, 0, 8, 2]),
        (np.full((3, 3), 5e-324), [0, 0, 3, 3]),
        (np.pad(np.ones((1, 1)), 300), [300, 300, 301, 301]),
    ],
    ids=["a patch", "and a speck", "over faint heat", "even heat", "one pixel", "a thin map", "tiny heat", "a dot"],
)
def test_degenerate_heatmaps_have_a_stable_box(heatmap: np.ndarray, box: list[int]) -> None:
    regions = find_regions(heatmap, "stable")
    np.testing.assert_array_equal(regions.xyxy[0], box)


def test_no_heat_has_no_stable_region() -> None:
    assert len(find_regions(np.zeros((5, 6), np.float32), "stable")) == 0


def test_an_explanation_gives_its_stable_boxes() -> None:
    heatmap = disc(25, 0.2)
    frame = make_frame(heatmap.shape, (120, 160), "stretch")
    explanation = Explanation(heatmap, heatmap, "ok", "cam", 0, "disc", 1.0, "disc", None, frame, 1)
    np.testing.assert_array_equal(explanation.boxes("stable").xyxy, find_regions(heatmap, "stable").xyxy)
    assert explanation.boxes("stable").level != explanation.boxes().level


@pytest.mark.parametrize("threshold", [0.15, 0.5])
@pytest.mark.parametrize("blur", [0.6, 2.0])
def test_few_and_many_regions_are_measured_alike(
    blur: float, threshold: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also in the order of regions of equal area and heat: all are cut from a map of few values."""
    noise = scipy.ndimage.gaussian_filter(np.random.default_rng(5).normal(size=(60, 80)), blur)
    heatmap = (np.maximum(noise / noise.max(), 0) * 4).round().astype(np.float32) / 4
    found = []
    for few in (0, 10**6):
        monkeypatch.setattr("onnxplain.explainers.regions._FEW_REGIONS", few)
        found.append(find_regions(heatmap, threshold))
    each, other = found
    assert len(each) > 3
    for name in ("xyxy", "score", "area"):
        np.testing.assert_array_equal(getattr(each, name), getattr(other, name))
        assert getattr(each, name).dtype == getattr(other, name).dtype
