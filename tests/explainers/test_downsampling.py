from __future__ import annotations

import cv2
import numpy as np
import pytest

from onnxplain.errors import OnnxplainError
from onnxplain.explainers.augmented.aggregation import aggregate
from onnxplain.explainers.augmented.downsampling import build_downsampling, choose_points
from onnxplain.explainers.augmented.random_copies import RandomCopies, count_from_centres

SIZE_HW, GRID_HW = (30, 40), (5, 4)
AUGMENTATION = RandomCopies(9, rotation=0.8, translation=0.3, zoom=1.3, mirror=True, seed=3)


def sample(heatmap: np.ndarray, x: float, y: float) -> float | None:
    """The heatmap at a continuous point, bilinear, edge pixels repeated; None outside the image."""
    height, width = heatmap.shape
    if not (0 <= x <= width and 0 <= y <= height):
        return None
    column, row = min(max(x - 0.5, 0), width - 1), min(max(y - 0.5, 0), height - 1)
    x1, y1 = int(column), int(row)
    x2, y2 = min(x1 + 1, width - 1), min(y1 + 1, height - 1)
    upper = heatmap[y1, x1] * (x1 + 1 - column) + heatmap[y1, x2] * (column - x1)
    lower = heatmap[y2, x1] * (x1 + 1 - column) + heatmap[y2, x2] * (column - x1)
    return upper * (y1 + 1 - row) + lower * (row - y1)


@pytest.mark.parametrize("points", [1, 2, 4, 5])
def test_the_operator_is_a_loop_over_copies_cells_and_points(points: int) -> None:
    heatmap = np.random.default_rng(0).random(SIZE_HW)
    transforms = AUGMENTATION.draw(SIZE_HW)
    operator = build_downsampling(transforms, SIZE_HW, GRID_HW, points)
    maps = (operator.matrix @ heatmap.ravel()).reshape(operator.seen.shape)
    cell_h, cell_w = SIZE_HW[0] / GRID_HW[0], SIZE_HW[1] / GRID_HW[1]
    for (copy, row, column), value in np.ndenumerate(maps):
        values = []
        for i in range(points):
            for j in range(points):
                x, y = (column + (j + 0.5) / points) * cell_w, (row + (i + 0.5) / points) * cell_h
                values.append(sample(heatmap, *(transforms[copy] @ [x, y, 1])))
        seen = [entry for entry in values if entry is not None]
        assert operator.seen[copy, row, column] == (len(seen) >= points**2 / 2)
        expected = np.mean(seen) if len(seen) >= points**2 / 2 else 0
        assert value == pytest.approx(expected, abs=1e-6)


@pytest.mark.parametrize(
    ("input_size_hw", "grid_hw", "points"),
    [
        ((224, 224), (14, 14), 4),
        ((224, 224), (7, 7), 8),
        ((128, 128), (4, 4), 8),
        ((64, 64), (8, 8), 4),
        ((96, 240), (3, 3), 20),
        ((100, 60), (6, 6), 5),
    ],
)
def test_points_lie_at_most_4_pixels_apart(
    input_size_hw: tuple[int, int], grid_hw: tuple[int, int], points: int
) -> None:
    assert choose_points(input_size_hw, grid_hw) == points


def test_rows_of_seen_cells_sum_to_one_and_others_are_empty() -> None:
    operator = build_downsampling(AUGMENTATION.draw(SIZE_HW), SIZE_HW, GRID_HW)
    assert operator.matrix.dtype == np.float32
    sums = np.asarray(operator.matrix.sum(axis=1)).reshape(operator.seen.shape)
    np.testing.assert_allclose(sums, operator.seen, atol=1e-6)
    assert operator.seen[0].all()
    assert not operator.seen.all()


def test_against_opencvs_warp_and_area_average() -> None:
    size_hw, grid_hw = (96, 128), (6, 8)
    y, x = np.mgrid[: size_hw[0], : size_hw[1]]
    heatmap = (np.exp(-((x - 70) ** 2 + (y - 40) ** 2) / 300) + np.sin(x / 15) * np.cos(y / 11)).astype(np.float32)
    transforms = RandomCopies(20).draw(size_hw)
    operator = build_downsampling(transforms, size_hw, grid_hw, points=8)
    maps = (operator.matrix @ heatmap.ravel()).reshape(operator.seen.shape)
    flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
    for transform, found in zip(transforms, maps, strict=True):
        indexed = count_from_centres(transform)
        warped = cv2.warpAffine(heatmap, indexed, size_hw[::-1], flags=flags)
        visible = cv2.warpAffine(np.ones_like(heatmap), indexed, size_hw[::-1], flags=flags)
        expected = cv2.resize(warped, grid_hw[::-1], interpolation=cv2.INTER_AREA)
        whole = cv2.resize(visible, grid_hw[::-1], interpolation=cv2.INTER_AREA) == 1
        assert whole.sum() > 20
        np.testing.assert_allclose(found[whole], expected[whole], atol=5e-3)


def test_one_point_is_the_centre_of_the_cell() -> None:
    heatmap = np.arange(12.0).reshape(2, 6)
    operator = build_downsampling(RandomCopies(1).draw((2, 6)), (2, 6), (1, 2), points=1)
    np.testing.assert_allclose(operator.matrix @ heatmap.ravel(), [heatmap[:, 1].mean(), heatmap[:, 4].mean()])


@pytest.mark.parametrize(
    ("augmentation", "points", "message"),
    [
        (RandomCopies(2), 0, "^points: found 0, expected at least 1"),
        (RandomCopies(40, translation=0.99), 4, "^augmentation: copy .* shows the image in none of the 5 × 4 cells"),
        (RandomCopies(40, zoom=1000), 4, "^augmentation: copy .* smaller translation, rotation or zoom"),
    ],
)
def test_what_leaves_nothing_to_see_is_refused(augmentation: RandomCopies, points: int, message: str) -> None:
    with pytest.raises(OnnxplainError, match=message):
        build_downsampling(augmentation.draw(SIZE_HW), SIZE_HW, GRID_HW, points)


@pytest.mark.parametrize("aggregation", ["mean", "max"])
def test_maps_are_warped_back_and_unseen_pixels_left_out(aggregation) -> None:
    maps = np.random.default_rng(1).random((9, *GRID_HW)).astype(np.float32)
    transforms = AUGMENTATION.draw(SIZE_HW)
    found = aggregate(maps, transforms, SIZE_HW, aggregation)
    assert (found.dtype, found.shape) == (np.float32, SIZE_HW)
    scale = np.array([GRID_HW[1] / SIZE_HW[1], GRID_HW[0] / SIZE_HW[0]])
    for (y, x), value in np.ndenumerate(found):
        seen = []
        for map_hw, transform in zip(maps, transforms, strict=True):
            at = np.linalg.solve(transform[:, :2], np.array([x, y]) + 0.5 - transform[:, 2])
            if (at >= 0).all() and (at <= SIZE_HW[::-1]).all():
                seen.append(sample(map_hw, *(at * scale)))
        # The maps are enlarged first, then turned: two interpolations.
        assert value == pytest.approx(np.mean(seen) if aggregation == "mean" else np.max(seen), abs=0.08)


@pytest.mark.parametrize("aggregation", ["mean", "max"])
def test_a_constant_stays_constant_where_any_copy_shows_it(aggregation) -> None:
    transforms = AUGMENTATION.draw(SIZE_HW)
    whole = aggregate(np.ones((9, *GRID_HW), np.float32), transforms, SIZE_HW, aggregation)
    np.testing.assert_allclose(whole, 1, rtol=1e-6)
    part = aggregate(np.ones((1, *GRID_HW), np.float32), transforms[1:2], SIZE_HW, aggregation)
    assert set(np.unique(part.round(5))) == {0, 1}
