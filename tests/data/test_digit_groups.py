"""Images of several digits: what they show, what they depend on, and the samples that ship with the demo."""

from __future__ import annotations

import itertools
import json
from pathlib import Path

import numpy as np
import pytest

from onnxplain.data import open_dataset
from onnxplain.data.digits.group_samples import write_sample_groups, write_test_groups
from onnxplain.data.digits.group_scenes import GROUP_SIDES, MOST_DIGITS, draw_group
from onnxplain.data.digits.samples import ANNOTATIONS
from onnxplain.demo import DETECTOR_IMAGES, detector_samples
from onnxplain.errors import OnnxplainError
from onnxplain.runtime.box import pairwise_iou
from onnxplain.runtime.image import load_image

pytest.importorskip("skimage", reason="needs the train extra")
pytest.importorskip("sklearn", reason="needs the train extra")


def test_shipped_samples_can_be_drawn_again(tmp_path: Path) -> None:
    """Within rounding: OpenCV's resampling may differ by a grey level or two between versions."""
    path = write_sample_groups(tmp_path)
    assert json.loads(path.read_text()) == json.loads((DETECTOR_IMAGES / ANNOTATIONS).read_text())
    assert {each.name for each in tmp_path.iterdir()} == {each.name for each in DETECTOR_IMAGES.iterdir()}
    for shipped in detector_samples():
        drawn = load_image(tmp_path / shipped.name).astype(int)
        assert np.abs(drawn - load_image(shipped).astype(int)).max() <= 2


def test_digits_lie_apart_inside_the_image() -> None:
    counts = set()
    for index in range(40):
        group = draw_group("train", index)
        height, width = group.image.shape[:2]
        assert GROUP_SIDES[0] <= height <= GROUP_SIDES[1]
        assert GROUP_SIDES[0] <= width <= GROUP_SIDES[1]
        assert len(group.boxes_xyxy) == len(group.class_ids)
        x1, y1, x2, y2 = group.boxes_xyxy.T
        assert (x1 >= 0).all() and (y1 >= 0).all() and (x2 <= width).all() and (y2 <= height).all()
        assert (x1 < x2).all() and (y1 < y2).all()
        overlaps = pairwise_iou(group.boxes_xyxy, group.boxes_xyxy)
        assert (overlaps == np.eye(len(overlaps))).all()
        counts.add(len(group.boxes_xyxy))
    assert counts == set(range(1, MOST_DIGITS + 1))


def test_an_image_depends_on_seed_split_and_index_alone() -> None:
    chosen = [("train", 3, 0), ("train", 4, 0), ("test", 3, 0), ("validation", 3, 0), ("train", 3, 1)]
    images = [draw_group(split, index, seed=seed).image for split, index, seed in chosen]
    for one, other in itertools.combinations(images, 2):
        assert one.shape != other.shape or not np.array_equal(one, other)
    again = draw_group("train", 3)
    np.testing.assert_array_equal(again.image, images[0])


def test_a_box_is_tight_around_one_digit() -> None:
    """The same image without digits differs inside the boxes only, and in each row and column of a box."""
    for index in range(10):
        group = draw_group("test", index)
        bare = without_digits(index)
        changed = np.abs(group.image.astype(int) - bare.astype(int)).max(axis=2) > 0
        for x1, y1, x2, y2 in group.boxes_xyxy.astype(int):
            inside = changed[y1:y2, x1:x2]
            assert inside.any(axis=0).mean() > 0.9
            assert inside.any(axis=1).mean() > 0.9
            # Ink that covers less than half a pixel is outside.
            changed[max(y1 - 3, 0) : y2 + 3, max(x1 - 3, 0) : x2 + 3] = False
        assert not changed.any()


def without_digits(index: int) -> np.ndarray:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("onnxplain.data.digits.group_scenes.paint", lambda rng, under, coverage: under)
        patch.setattr("onnxplain.data.digits.group_scenes.MOST_DIGITS", 1)
        return draw_group("test", index).image


def test_written_images_are_a_data_set(tmp_path: Path) -> None:
    dataset = open_dataset(write_test_groups(tmp_path / "images", 4))
    assert (dataset.images, dataset.problems) == (4, ())
    expected = [box for index in range(4) for box in draw_group("test", index).boxes_xyxy.tolist()]
    found = [box for record in dataset.records for box in record.boxes_xyxy.tolist()]
    assert sorted(found) == sorted(expected)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"split": "dev"}, "found split 'dev', expected one of train, validation, test"),
        ({"index": -1}, "found seed 0, image -1, expected numbers of at least 0"),
        ({"size_hw": (32, 200)}, "found size 32x200, expected sides of at least 64 pixels"),
        ({"texture": "marble"}, "marble"),
    ],
)
def test_what_is_refused(options: dict[str, object], message: str) -> None:
    with pytest.raises(OnnxplainError, match=message):
        draw_group(**{"split": "test", "index": 0, **options})
