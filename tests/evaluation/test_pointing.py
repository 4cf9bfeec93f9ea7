from __future__ import annotations

import numpy as np
import pytest

from onnxplain.errors import OnnxplainError
from onnxplain.evaluation.metrics.pointing import energy_in_boxes, pointing_hit

SIZE_HW = (60, 90)
BOX = (30, 20, 50, 35)


def hot_at(x: int, y: int) -> np.ndarray:
    heatmap = np.random.default_rng(0).random(SIZE_HW).astype(np.float32) / 2
    heatmap[y, x] = 1
    return heatmap


@pytest.mark.parametrize(
    ("x", "y", "tolerance", "hit"),
    [
        (30, 20, 0, True),
        (49, 34, 0, True),
        (50, 34, 0, False),
        (49, 35, 0, False),
        (29, 20, 0, False),
        # 14 pixels beside the last column of pixels, then 15
        (63, 25, 15, True),
        (64, 25, 15, False),
        (16, 25, 15, True),
        (15, 25, 15, False),
        (40, 48, 15, True),
        (40, 49, 15, False),
        # off a corner: sqrt(12² + 9²) is 15, sqrt(11² + 9²) less, though each axis alone is within it
        (61, 43, 15, False),
        (60, 43, 15, True),
    ],
)
def test_the_hottest_pixel_hits_in_the_box_and_near_it(x: int, y: int, tolerance: float, hit: bool) -> None:
    assert pointing_hit(hot_at(x, y), np.array([BOX], np.float32), tolerance) is hit


@pytest.mark.parametrize("seed", range(4))
def test_hits_are_those_of_a_disc_of_pixels_that_touches_a_mask(seed: int) -> None:
    """The definition on pixels: some pixel of a box lies less than 15 from the hottest one."""
    rng = np.random.default_rng(seed)
    mask, boxes = np.zeros(SIZE_HW, bool), []
    for _ in range(2):
        x, y, width, height = (int(value) for value in rng.integers([0, 0, 1, 1], [80, 50, 10, 10]))
        boxes.append([x, y, x + width, y + height])
        mask[y : y + height, x : x + width] = True
    rows, columns = np.indices(SIZE_HW)
    for x, y in rng.integers([0, 0], SIZE_HW[::-1], (60, 2)):
        near = (columns - x) ** 2 + (rows - y) ** 2 < 15**2
        assert pointing_hit(hot_at(x, y), np.array(boxes)) == (mask & near).any()


def test_any_box_will_do_and_the_first_of_equal_maxima_points() -> None:
    heatmap = np.zeros(SIZE_HW, np.float32)
    heatmap[10, 80] = heatmap[50, 5] = 1
    assert pointing_hit(heatmap, np.array([BOX, (78, 8, 85, 14)]), 0)
    assert not pointing_hit(heatmap, np.array([(2, 48, 9, 55)]), 0)


@pytest.mark.parametrize("value", [0.0, 0.4])
def test_a_map_without_a_maximum_misses(value: float) -> None:
    assert not pointing_hit(np.full(SIZE_HW, value, np.float32), np.array([(0, 0, 90, 60)]))


def test_a_box_thinner_than_a_pixel_is_near_its_middle() -> None:
    assert pointing_hit(hot_at(40, 20), np.array([(40.2, 20.0, 40.6, 30.0)]), 0.2)
    assert not pointing_hit(hot_at(40, 20), np.array([(40.2, 20.0, 40.6, 30.0)]), 0.05)


@pytest.mark.parametrize(
    ("boxes", "energy"),
    [
        ([(0, 0, 4, 4)], 1.0),
        ([(0, 0, 2, 4)], 0.5),
        ([(0, 0, 2, 2), (2, 2, 4, 4)], 0.5),
        ([(0, 0, 2, 4), (1, 0, 3, 4)], 0.75),
        ([(0, 0, 2, 4), (0, 0, 2, 4)], 0.5),
        ([(0.5, 0, 2, 4)], 0.375),
        ([(0.5, 0.5, 1.25, 3.75)], 0.75 * 3.25 / 16),
        ([(0.25, 0, 0.5, 4), (0.4, 0, 0.75, 4)], 0.5 * 4 / 16),
        ([(-3, -3, 2, 9)], 0.5),
        ([(7, 7, 9, 9)], 0.0),
    ],
)
def test_energy_of_even_heat_is_the_covered_share(boxes: list[tuple[float, ...]], energy: float) -> None:
    found = energy_in_boxes(np.full((4, 4), 0.25, np.float32), np.array(boxes))
    assert isinstance(found, float)
    assert found == pytest.approx(energy)


@pytest.mark.parametrize("seed", range(3))
def test_energy_is_that_of_a_mask_of_finer_pixels(seed: int) -> None:
    """Boxes on a grid of eighths of a pixel, painted on a map of eight times the size."""
    rng = np.random.default_rng(seed)
    heatmap = rng.random((12, 17)).astype(np.float32)
    fine, mask = np.kron(heatmap, np.ones((8, 8))), np.zeros((96, 136), bool)
    boxes = []
    for _ in range(4):
        (x1, x2), (y1, y2) = np.sort(rng.choice(136, 2, False)), np.sort(rng.choice(96, 2, False))
        mask[y1:y2, x1:x2] = True
        boxes.append([x1 / 8, y1 / 8, x2 / 8, y2 / 8])
    assert energy_in_boxes(heatmap, np.array(boxes)) == pytest.approx(fine[mask].sum() / fine.sum())


def test_a_map_without_heat_has_no_energy_anywhere() -> None:
    assert energy_in_boxes(np.zeros(SIZE_HW, np.float32), np.array([(0, 0, 90, 60)])) == 0


@pytest.mark.parametrize("score", [pointing_hit, energy_in_boxes])
@pytest.mark.parametrize(
    ("heatmap", "boxes", "message"),
    [
        (np.ones((4, 4, 1)), [BOX], r"^heatmap: found shape \(4, 4, 1\), expected \(H, W\)"),
        (np.full((4, 4), np.nan), [BOX], r"^heatmap: found NaN or infinite heat"),
        (np.eye(4), np.empty((0, 4)), r"^boxes: found shape \(0, 4\)"),
        (np.eye(4), [1, 2, 3, 4], r"^boxes: found shape \(4,\)"),
    ],
)
def test_what_cannot_be_scored_is_refused(score, heatmap: np.ndarray, boxes: object, message: str) -> None:
    with pytest.raises(OnnxplainError, match=message):
        score(heatmap, np.array(boxes))


def test_negative_heat_has_no_energy() -> None:
    with pytest.raises(OnnxplainError, match=r"^heatmap: found negative heat"):
        energy_in_boxes(-np.eye(4), np.array([BOX]))
