from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from onnxplain.data import Record
from onnxplain.errors import ImageError, OnnxplainError
from onnxplain.evaluation.metrics.baselines import MeanBox, center_box, center_gaussian
from onnxplain.evaluation.metrics.max_box_accuracy import scoremap


@pytest.mark.parametrize("size_hw", [(100, 200), (33, 7), (1, 1)])
def test_the_centre_box_has_half_the_area_and_the_images_middle_and_proportions(size_hw: tuple[int, int]) -> None:
    x1, y1, x2, y2 = center_box(size_hw)
    height, width = size_hw
    assert (x2 - x1) * (y2 - y1) == pytest.approx(height * width / 2)
    assert ((x1 + x2) / 2, (y1 + y2) / 2) == pytest.approx((width / 2, height / 2))
    assert (x2 - x1) / (y2 - y1) == pytest.approx(width / height)
    assert center_box(size_hw).dtype == np.float32


@pytest.mark.parametrize("size_hw", [(101, 201), (40, 30), (1, 1)])
def test_the_centre_gaussian_is_a_gaussian_of_a_quarter_of_each_side(size_hw: tuple[int, int]) -> None:
    heatmap = center_gaussian(size_hw)
    rows, columns = np.indices(size_hw)
    distance_y = (rows + 0.5 - size_hw[0] / 2) / (size_hw[0] / 4)
    distance_x = (columns + 0.5 - size_hw[1] / 2) / (size_hw[1] / 4)
    expected = np.exp(-(distance_x**2 + distance_y**2) / 2)
    np.testing.assert_allclose(heatmap, expected / expected.max(), rtol=1e-6)
    assert heatmap.dtype == np.float32 and heatmap.shape == size_hw and heatmap.max() == 1
    np.testing.assert_array_equal(heatmap, heatmap[::-1, ::-1])


def test_the_centre_gaussian_is_isotropic_where_the_benchmark_looks() -> None:
    square = scoremap(center_gaussian((448, 672)))
    np.testing.assert_allclose(square, square.T, atol=1e-3)


def test_the_mean_box_is_the_mean_of_shares_over_boxes(tmp_path: Path) -> None:
    # EXIF turns this one upright: 40 wide, 20 high.
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.new("RGB", (20, 40)).save(tmp_path / "turned.jpg", exif=exif)
    records = [
        Record(np.zeros((100, 200, 3), np.uint8), "a", np.array([[20, 10, 100, 60]], np.float32), "a"),
        Record(tmp_path / "turned.jpg", "b", np.array([[0, 0, 20, 20], [20, 10, 40, 20]], np.float32)),
        Record(np.zeros((9, 9, 3), np.uint8), "c", np.empty((0, 4), np.float32), "c"),
    ]
    mean = MeanBox.of(iter(records))
    shares = np.array([[0.1, 0.1, 0.5, 0.6], [0, 0, 0.5, 1], [0.5, 0.5, 1, 1]])
    assert mean.share_xyxy == pytest.approx(shares.mean(axis=0))
    placed = mean.place((50, 300))
    np.testing.assert_allclose(placed, shares.mean(axis=0) * [300, 50, 300, 50], rtol=1e-6)
    assert placed.dtype == np.float32


def test_the_mean_box_of_nothing_is_refused(tmp_path: Path) -> None:
    empty = Record(np.zeros((9, 9, 3), np.uint8), "c", np.empty((0, 4), np.float32), "c")
    for records in ([], [empty]):
        with pytest.raises(OnnxplainError, match=r"^mean box: found no box"):
            MeanBox.of(records)
    (tmp_path / "a.png").write_bytes(b"no image")
    with pytest.raises(ImageError, match=r"a\.png: found no image"):
        MeanBox.of([Record(tmp_path / "a.png", "a", np.array([[0, 0, 1, 1]], np.float32))])
    with pytest.raises(OnnxplainError, match=r"^mean box: found \(0\.5, 0\.0, 0\.5, 1\.0\)"):
        MeanBox((0.5, 0.0, 0.5, 1.0))


def test_boxes_over_the_edge_by_rounding_stay_in_the_image() -> None:
    record = Record(np.zeros((10, 10, 3), np.uint8), "a", np.array([[-0.2, 0, 10.4, 10]], np.float32), "a")
    assert MeanBox.of([record]).share_xyxy == (0, 0, 1, 1)
