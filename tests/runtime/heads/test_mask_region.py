"""Label maps and regions of masks, against the frame's own enlarging and known answers."""

from __future__ import annotations

import numpy as np
import pytest

from onnxplain.contract import HeadSpec
from onnxplain.errors import OnnxplainError
from onnxplain.runtime.answers import Mask
from onnxplain.runtime.geometry import Frame, make_frame
from onnxplain.runtime.head_scores import predicted_entries, region_mean
from onnxplain.runtime.heads import label_map
from onnxplain.runtime.heads.label_map import draw_label_map
from onnxplain.runtime.heads.mask_region import region_at, region_of

RNG = np.random.default_rng(5)
HEAD = HeadSpec("m", "mask", 3, "m", labels=("sky", "dog", "cat"), map_size_hw=(8, 8))
FRAMES = [
    make_frame((40, 60), (32, 32), "crop"),
    make_frame((40, 60), (32, 32), "stretch"),
    make_frame((60, 40), (32, 32), "letterbox"),
    make_frame((7, 5), (32, 32), "stretch"),
]


@pytest.mark.parametrize("frame", FRAMES, ids=["crop", "stretch", "letterbox", "small"])
@pytest.mark.parametrize("at_once", [1 << 23, 500])
def test_a_label_map_is_the_largest_of_the_enlarged_maps(monkeypatch, frame, at_once):
    monkeypatch.setattr(label_map, "_NUMBERS_AT_ONCE", at_once)
    logits = RNG.normal(size=(3, 8, 8)) * 3
    maps = (np.exp(logits) / np.exp(logits).sum(0)).astype(np.float32)
    found = draw_label_map(maps, frame)
    enlarged = np.stack([frame.map_to_image(each) for each in maps])
    seen = enlarged.sum(axis=0) > 0
    # Where two classes are as good as equal, rounding decides.
    sure = np.diff(np.sort(enlarged, axis=0)[-2:], axis=0)[0] > 1e-5
    np.testing.assert_array_equal(found.labels[seen & sure], enlarged.argmax(axis=0)[seen & sure])
    assert (found.labels[~seen] == -1).all()
    counts = np.array([(found.labels == entry).sum() for entry in range(3)])
    np.testing.assert_allclose(found.shares, counts / seen.sum(), rtol=1e-6)


def test_independent_classes_may_overlap_and_leave_pixels_without_a_class():
    frame = make_frame((8, 8), (32, 32), "stretch")
    maps = np.zeros((2, 8, 8), np.float32)
    maps[0, :4], maps[1, :2] = 0.9, 0.95
    found = Mask(HeadSpec("m", "mask", 2, "m", map_size_hw=(8, 8), sigmoid=True), maps, frame)
    assert [found.label_map[row, 0] for row in (0, 3, 5)] == [1, 0, -1]
    assert found.shares.tolist() == [0.5, 0.25]
    assert [(each.index, each.label) for each in found.top(2)] == [(0, "0"), (1, "1")]


def test_a_box_becomes_the_shares_of_the_cells_that_it_covers():
    frame = Frame((64, 64), (32, 32), (0.5, 0.5), (0.0, 0.0))  # a cell of the mask is 8 × 8 pixels of the image
    region = region_of((4, 8, 16, 24), frame, HEAD)
    assert region.shape == (1, 1, 8, 8)
    expected = np.zeros((8, 8))
    expected[1:3, 0], expected[1:3, 1] = 0.5, 1
    np.testing.assert_allclose(region[0, 0], expected)
    maps = RNG.normal(size=(2, 3, 8, 8)).astype(np.float32)
    means = region_mean(maps, region)
    np.testing.assert_allclose(means, (maps * expected).sum((2, 3)) / expected.sum(), rtol=1e-5)
    np.testing.assert_allclose(region_mean(maps, np.ones((1, 1, 1, 1), np.float32)), maps.mean((2, 3)), rtol=1e-5)
    np.testing.assert_allclose(region_mean(maps, None), maps.mean((2, 3)), rtol=1e-5, atol=1e-7)
    assert np.isnan(region_mean(maps, np.ones((1, 1, 4, 4), np.float32))).all()


def test_a_tiny_box_is_a_part_of_one_cell():
    frame = Frame((64, 64), (32, 32), (0.5, 0.5), (0.0, 0.0))
    region = region_of((41, 17, 42, 18), frame, HEAD)
    assert np.argwhere(region[0, 0]).tolist() == [[2, 5]]


CROPPED = make_frame((40, 80), (32, 32), "crop")


@pytest.mark.parametrize("box", [(10, 10, 10, 20), (0, 0, 10, 10), (90, 0, 95, 10), (30, 30, 20, 40)])
def test_regions_outside_the_image_or_empty_are_refused(box):
    with pytest.raises(OnnxplainError, match=r"region: found .* for an image of 80x40, of which the model sees"):
        region_of(box, CROPPED, HEAD)


def test_the_region_at_a_pixel_is_the_connected_part_of_its_class():
    frame = Frame((64, 64), (32, 32), (0.5, 0.5), (0.0, 0.0))
    classes = np.zeros((8, 8), int)
    classes[1, 1] = classes[2, 2] = classes[6, 6] = 1  # two cells touch at a corner, one lies alone
    maps = (np.arange(3)[:, None, None] == classes).astype(np.float32)
    region = region_at((20, 20), 1, maps, frame, HEAD)
    assert region.shape == (1, 1, 8, 8)
    assert np.argwhere(region[0, 0]).tolist() == [[1, 1], [2, 2]]
    with pytest.raises(OnnxplainError, match="found sky at the pixel 0,0, expected dog there"):
        region_at((0, 0), 1, maps, frame, HEAD)
    with pytest.raises(OnnxplainError, match="expected one that the model sees: from 0,0 to 64,64"):
        region_at((64, 3), 1, maps, frame, HEAD)
    with pytest.raises(OnnxplainError, match="found the head y of kind classes, expected a mask"):
        region_at((3, 3), 1, maps, frame, HeadSpec("y", "classes", 3, "y"))


def test_the_predicted_class_of_a_mask_takes_most_cells():
    logits = np.zeros((2, 3, 8, 8), np.float32)
    logits[0, 2, :, :5] = 1
    logits[1, 1, 0, 0] = 50  # one sure cell is not most
    assert predicted_entries(HEAD, logits).tolist() == [2, 0]
