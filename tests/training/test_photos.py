from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("torch", reason="needs the train extra")

import torch
from PIL import Image

from onnxplain.data import open_dataset
from onnxplain.data.inputs import model_inputs
from onnxplain.data.problem import ProblemError
from onnxplain.errors import OnnxplainError
from onnxplain.training.augmentation import Augmentation
from onnxplain.training.backbone import SMALL_PREPROCESSING
from onnxplain.training.localizer import LocalizerConfig, build_localizer
from onnxplain.training.photos import Photos, photo_batches, read_photos, score_constant, score_photos
from tests.training.shapes import write_shapes

SIZE_HW = (32, 48)


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Photos:
    source = write_shapes(tmp_path_factory.mktemp("shapes"), 7)
    return read_photos(open_dataset(source), SIZE_HW, [])


def batches(photos: Photos, epoch: int = 0, **changes: object) -> list[object]:
    options = {"seed": 0, "augmentation": None, "with_boxes": True, **changes}
    return list(photo_batches(photos, epoch, 3, SMALL_PREPROCESSING, **options))


def test_training_sees_the_pixels_that_the_engine_makes(photos: Photos) -> None:
    expected = model_inputs([record.load() for record in photos.records], SIZE_HW, SMALL_PREPROCESSING)
    by_class = sorted(range(7), key=lambda index: expected[index].tobytes())
    shown = torch.cat([batch.images for batch in batches(photos)]).numpy()
    in_order = sorted(range(7), key=lambda index: shown[index].tobytes())

    np.testing.assert_array_equal(shown[in_order], expected[by_class])


def test_every_image_is_shown_once_in_batches_of_nearly_equal_size_with_its_box(photos: Photos) -> None:
    shown = batches(photos)

    assert [len(batch.truths) for batch in shown] == [3, 2, 2]
    found = torch.cat([batch.boxes for batch in shown]).numpy()
    for record in photos.records:
        x1, y1, x2, y2 = record.boxes_xyxy[0]
        height, width = record.load().shape[:2]
        share = [(x1 + x2) / 2 / width, (y1 + y2) / 2 / height, (x2 - x1) / width, (y2 - y1) / height]
        assert np.isclose(found, share, atol=1e-6).all(axis=1).sum() == 1


@pytest.mark.parametrize("augmentation", [None, Augmentation()])
def test_batches_depend_on_seed_and_epoch_alone(photos: Photos, augmentation: Augmentation | None) -> None:
    first, again, later, other = (
        torch.cat([batch.images for batch in batches(photos, epoch, seed=seed, augmentation=augmentation)])
        for epoch, seed in ((0, 0), (0, 0), (1, 0), (0, 1))
    )
    assert torch.equal(first, again)
    assert not torch.equal(first, later)
    assert not torch.equal(first, other)


def test_augmented_boxes_lie_on_their_rectangles(photos: Photos) -> None:
    """Inside the box the picture has the colour of the class, blue or red, and outside it is dark or grey."""
    colourless = Augmentation(colour=0.0, visible=0.9)
    for batch in batches(photos, augmentation=colourless):
        for image, (cx, cy, w, h) in zip(batch.images.numpy(), batch.boxes.numpy(), strict=True):
            saturated = np.ptp(image, axis=0) > 1.5
            columns = (np.arange(SIZE_HW[1]) + 0.5) / SIZE_HW[1]
            rows = (np.arange(SIZE_HW[0]) + 0.5) / SIZE_HW[0]
            inside = (abs(rows - cy) < h / 2)[:, None] & (abs(columns - cx) < w / 2)
            assert (inside & saturated).sum() / (inside | saturated).sum() > 0.85


def test_labels_alone_never_look_at_boxes(photos: Photos) -> None:
    blind = Photos(photos.records, photos.labels, photos.truths, ((),) * 7, SIZE_HW, photos.pixels_nhwc)
    shown = batches(blind, augmentation=Augmentation(), with_boxes=False)

    assert [batch.boxes for batch in shown] == [None] * 3


def test_images_that_are_too_many_to_keep_are_decoded_again(photos: Photos, tmp_path: Path) -> None:
    again = read_photos(open_dataset(write_shapes(tmp_path, 7)), SIZE_HW, [], cache_bytes=7 * 32 * 48 * 3 - 1)

    assert again.pixels_nhwc is None
    for one, two in zip(batches(photos), batches(again), strict=True):
        assert torch.equal(one.images, two.images)


def test_damaged_images_are_left_out_and_said(tmp_path: Path) -> None:
    source = write_shapes(tmp_path, 4)
    whole = (tmp_path / "01.png").read_bytes()
    (tmp_path / "01.png").write_bytes(whole[: len(whole) // 2])
    problems: list[object] = []
    photos = read_photos(open_dataset(source), SIZE_HW, problems)

    assert [record.name for record in photos.records] == ["00", "02", "03"]
    assert photos.pixels_nhwc is not None
    assert photos.pixels_nhwc.shape == (3, *SIZE_HW, 3)
    assert [Path(problem.path).name for problem in problems] == ["01.png"]
    with pytest.raises(ProblemError, match=r"01\.png"):
        read_photos(open_dataset(source), SIZE_HW, [], strict=True)


def test_nothing_that_can_be_read_is_refused(tmp_path: Path) -> None:
    source = write_shapes(tmp_path, 1)
    whole = (tmp_path / "00.png").read_bytes()
    (tmp_path / "00.png").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(OnnxplainError, match="no image that can be read"):
        read_photos(open_dataset(source), SIZE_HW, [])


def test_the_fingerprint_tells_images_labels_and_boxes_apart(tmp_path: Path) -> None:
    def digest(folder: Path) -> str:
        return read_photos(open_dataset(folder / "boxes.csv"), SIZE_HW, []).digest

    first, again = tmp_path / "first", tmp_path / "again"
    write_shapes(first, 3), write_shapes(again, 3)
    assert digest(first) == digest(again)
    text = (again / "boxes.csv").read_text()
    (again / "boxes.csv").write_text(text.replace("02.png,blue,", "02.png,red,"))
    relabelled = digest(again)
    (again / "boxes.csv").write_text(text)
    Image.new("RGB", (80, 48)).save(again / "02.png")
    assert len({digest(first), relabelled, digest(again)}) == 3


def test_an_image_of_several_boxes_scores_its_nearest(tmp_path: Path) -> None:
    photos = read_photos(open_dataset(write_shapes(tmp_path, 2, boxes=3)), SIZE_HW, [])
    assert [len(boxes) for boxes in photos.boxes_xyxy] == [3, 1]
    module = build_localizer(LocalizerConfig(2, SIZE_HW, (4, 4), box_channels=2), seed=0)
    (x1, y1, x2, y2) = photos.boxes_xyxy[0][1]
    with torch.no_grad():
        module.box[2].weight.zero_()
        module.box[2].bias.copy_(torch.tensor([(x1 + x2) / 2, (y1 + y2) / 2, x2 - x1, y2 - y1]))
    first = Photos(
        photos.records[:1], photos.labels, photos.truths[:1], photos.boxes_xyxy[:1], SIZE_HW, photos.pixels_nhwc
    )
    score = score_photos(module, first, SMALL_PREPROCESSING)

    assert score.mean_iou == pytest.approx(1, abs=1e-5)
    assert (score.box_accuracy, score.count) == (1, 1)


def test_labels_alone_are_scored_by_their_probability(photos: Photos) -> None:
    module = build_localizer(LocalizerConfig(2, SIZE_HW, (4, 4), box_channels=0), seed=0)
    with torch.no_grad():
        module.classifier.weight.zero_()
        module.classifier.bias.copy_(torch.tensor([np.log(3.0), 0.0]))
    score = score_photos(module, photos, SMALL_PREPROCESSING)

    assert (score.mean_iou, score.box_accuracy, score.count) == (None, None, 7)
    assert score.accuracy == pytest.approx(4 / 7)  # blue, red, blue, …
    assert score.quality == pytest.approx((4 * 0.75 + 3 * 0.25) / 7)


def test_the_constant_box_is_the_mean_of_the_training_boxes(photos: Photos) -> None:
    (box,) = photos.boxes_xyxy[0]
    same = Photos(photos.records, photos.labels, photos.truths, (box[None],) * 7, SIZE_HW, None)
    score = score_constant(same, photos)

    assert score.accuracy == pytest.approx(4 / 7)
    assert score.mean_iou is not None
    assert score.mean_iou < 1
    assert score_constant(same, same).mean_iou == pytest.approx(1)
