from __future__ import annotations

import itertools
import sys

import numpy as np
import pytest

from onnxplain.data.digits import scenes
from onnxplain.data.digits.glyphs import load_glyphs, samples_of
from onnxplain.data.digits.scenes import DIGIT_LABELS, INK_THRESHOLD, SIDE_RANGE, DigitScenes, draw_scene
from onnxplain.data.digits.textures import TEXTURES, texture_region
from onnxplain.errors import OnnxplainError

skimage_data = pytest.importorskip("skimage.data", reason="needs the train extra")
pytest.importorskip("sklearn", reason="needs the train extra")

SPLITS = ("train", "validation", "test")


def test_splits_share_no_digit_sample_and_leave_none_out() -> None:
    chosen = {split: set(samples_of(split, 1797).tolist()) for split in SPLITS}

    for first, second in itertools.combinations(SPLITS, 2):
        assert not chosen[first] & chosen[second]
    assert set().union(*chosen.values()) == set(range(1797))


@pytest.mark.parametrize("split", SPLITS)
def test_scenes_show_samples_of_their_split_and_tell_the_true_digit(split: str) -> None:
    from sklearn.datasets import load_digits

    truth = load_digits().target
    for index in range(60):
        scene = draw_scene(split, index)
        assert scene.sample in samples_of(split, 1797)
        assert scene.record.label == str(truth[scene.sample])
        assert scene.texture in TEXTURES


@pytest.mark.parametrize("name", TEXTURES)
def test_test_texture_is_another_part_of_the_photograph(name: str) -> None:
    photo = getattr(skimage_data, name)()
    columns = np.broadcast_to(np.arange(photo.shape[1], dtype=np.int64)[None], photo.shape[:2])
    shown = {}
    for split in SPLITS:
        region = texture_region(name, split)
        plane = region[:, :, 0]
        reference = photo if photo.ndim == 2 else photo[:, :, 0]
        first = next(
            start
            for start in range(photo.shape[1] - plane.shape[1] + 1)
            if np.array_equal(reference[:, start : start + plane.shape[1]], plane)
        )
        shown[split] = set(columns[0, first : first + plane.shape[1]].tolist())

    assert shown["train"] == shown["validation"]
    assert not shown["train"] & shown["test"]
    assert len(shown["test"]) > 100


def test_a_background_comes_from_the_region_of_its_own_split(monkeypatch: pytest.MonkeyPatch) -> None:
    def painted(name: str, split: str) -> np.ndarray:
        colour = (0, 200, 0) if split == "test" else (200, 0, 200)
        return np.full((200, 200, 3), colour, np.uint8)

    monkeypatch.setattr(scenes, "texture_region", painted)
    for split in SPLITS:
        scene = draw_scene(split, 0)
        red, green, _ = scene.record.image[scene.ink_hw == 0].T.astype(int)
        assert ((green > red) == (split == "test")).all()


@pytest.mark.parametrize("split", SPLITS)
def test_boxes_are_tight_around_the_ink(split: str) -> None:
    for index in range(40):
        scene = draw_scene(split, index)
        (box,) = scene.record.boxes_xyxy
        inked = [
            (x, y)
            for y, row in enumerate(scene.ink_hw.tolist())
            for x, value in enumerate(row)
            if value >= INK_THRESHOLD
        ]
        xs, ys = zip(*inked, strict=True)
        assert box.tolist() == [min(xs), min(ys), max(xs) + 1, max(ys) + 1]


def test_the_image_changes_exactly_where_the_ink_lies(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(scenes, "texture_region", lambda name, split: np.full((300, 300, 3), 120, np.uint8))
    for index in range(40):
        scene = draw_scene("train", index)
        image = scene.record.image.astype(int)
        paper = np.median(image.reshape(-1, 3), axis=0)
        distance = np.abs(image - paper).max(axis=2)
        assert (distance[scene.ink_hw == 0] == 0).all()
        assert (distance[scene.ink_hw >= INK_THRESHOLD] > 20).all()


def test_a_scene_depends_on_seed_split_and_index_alone() -> None:
    later = list(DigitScenes("train", 4, seed=3))[2]
    alone = draw_scene("train", 2, seed=3).record

    np.testing.assert_array_equal(later.image, alone.image)
    assert (later.label, later.name, later.boxes_xyxy.tolist()) == (alone.label, alone.name, alone.boxes_xyxy.tolist())


@pytest.mark.parametrize("other", [("test", 2, 3), ("train", 1, 3), ("train", 2, 4)])
def test_another_seed_split_or_index_is_another_scene(other: tuple[str, int, int]) -> None:
    split, index, seed = other
    scene, changed = draw_scene("train", 2, seed=3).record, draw_scene(split, index, seed=seed).record

    assert scene.image.shape != changed.image.shape or (scene.image != changed.image).any()


def test_scenes_vary_in_size_and_show_every_digit() -> None:
    records = list(DigitScenes("test", 120))
    sides = np.array([record.image.shape[:2] for record in records])

    assert sides.min() >= SIDE_RANGE[0] and sides.max() <= SIDE_RANGE[1]
    assert len({tuple(size) for size in sides.tolist()}) > 100
    assert {record.label for record in records} == set(DIGIT_LABELS)


@pytest.mark.parametrize("size_hw", [(120, 160), (160, 120), (32, 32), (40, 200)])
def test_a_given_size_is_kept_and_holds_the_digit(size_hw: tuple[int, int]) -> None:
    for index in range(20):
        record = draw_scene("test", index, size_hw=size_hw).record
        x1, y1, x2, y2 = record.boxes_xyxy[0]
        assert record.image.shape == (*size_hw, 3)
        assert 0 <= x1 < x2 <= size_hw[1] and 0 <= y1 < y2 <= size_hw[0]


def test_slices_and_negative_indices_follow_sequences() -> None:
    scenes = DigitScenes("test", 5)

    assert [record.name for record in scenes[1:4]] == [scenes[i].name for i in (1, 2, 3)]
    assert [record.name for record in scenes[1:4][1:]] == [scenes[i].name for i in (2, 3)]
    assert scenes[-1].name == scenes[4].name
    assert len(scenes[4:2]) == 0
    with pytest.raises(IndexError):
        scenes[5]


@pytest.mark.parametrize(
    ("draw", "message"),
    [
        (lambda: draw_scene("dev", 0), "'dev', expected one of train"),
        (lambda: draw_scene("train", 0, size_hw=(31, 64)), "31x64"),
        (lambda: draw_scene("train", 0, texture="sand"), "'sand', expected one of brick"),
        (lambda: DigitScenes("train", -1), "-1 scenes"),
        (lambda: DigitScenes("train", 1, seed=-2)[0], "seed -2"),
        (lambda: draw_scene("train", -3), "scene -3"),
        (lambda: DigitScenes("train", 4)[::2], "step 2"),
    ],
)
def test_bad_arguments_are_refused(draw: object, message: str) -> None:
    with pytest.raises(OnnxplainError, match=message):
        draw()


@pytest.mark.parametrize(
    ("module", "load"),
    [("sklearn.datasets", lambda: load_glyphs("test")), ("skimage.data", lambda: texture_region("brick", "test"))],
)
def test_a_missing_extra_is_named(module: str, load: object, monkeypatch: pytest.MonkeyPatch) -> None:
    load_glyphs.cache_clear()
    texture_region.cache_clear()
    monkeypatch.setitem(sys.modules, module, None)

    with pytest.raises(OnnxplainError, match=r"onnxplain\[train\]"):
        load()
