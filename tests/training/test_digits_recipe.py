from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("torch", reason="needs the train extra")
pytest.importorskip("sklearn", reason="needs the train extra")
pytest.importorskip("skimage", reason="needs the train extra")

import torch

from onnxplain.data.digits.scenes import DIGIT_LABELS, DigitScenes
from onnxplain.data.record import Record
from onnxplain.errors import OnnxplainError
from onnxplain.training import digits as recipe
from onnxplain.training.augmentation import Augmentation
from onnxplain.training.checkpoint import load_checkpoint
from onnxplain.training.digits import DIGITS_OPTIONS, digits_training, evaluate_digits, train_batch
from onnxplain.training.score import score_predictions

BATCH_SIZE = DIGITS_OPTIONS.batch_size


def oracle(records: Sequence[Record], wrong_labels: int = 0, shift: float = 0.0) -> object:
    """A predictor that knows the truth, spoilt on purpose; asked for the records in their order."""
    remaining = iter(enumerate(records))

    def predict(images: Sequence[np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
        known = [next(remaining) for _ in images]
        for image, (_, record) in zip(images, known, strict=True):
            np.testing.assert_array_equal(image, record.load())
        classes = [(int(record.label) + (number < wrong_labels)) % 10 for number, record in known]
        boxes = np.concatenate([record.boxes_xyxy for _, record in known])
        return np.array(classes), boxes + np.float32(shift) * (boxes[:, 2:3] - boxes[:, :1]) * [1, 0, 1, 0]

    return predict


@pytest.mark.parametrize(
    ("wrong_labels", "shift", "expected"),
    [(0, 0.0, (1.0, 1.0, 1.0)), (5, 0.0, (0.75, 1.0, 0.75)), (5, 0.5, (0.75, 1 / 3, 0.25)), (0, 2.0, (1.0, 0.0, 0.0))],
)
def test_scores_by_hand(wrong_labels: int, shift: float, expected: tuple[float, float, float]) -> None:
    score = evaluate_digits(oracle(list(DigitScenes("test", 20)), wrong_labels, shift), count=20)

    assert (score.accuracy, score.mean_iou, score.quality) == pytest.approx(expected, abs=1e-5)
    assert score.count == 20


def test_scores_do_not_depend_on_the_batch_size() -> None:
    records = list(DigitScenes("test", 7))
    one, many = (
        score_predictions(oracle(records, 2, 0.1), records, DIGIT_LABELS, batch_size=size) for size in (3, 100)
    )
    assert one == many


@pytest.mark.parametrize("boxes", [[], [[0, 0, 4, 4], [1, 1, 3, 3]]])
def test_records_without_exactly_one_box_are_refused(boxes: list[list[int]]) -> None:
    record = Record(np.zeros((8, 8, 3), np.uint8), "3", np.array(boxes, np.float32), name="odd")
    with pytest.raises(OnnxplainError, match=f"odd: found {len(boxes)} boxes, expected exactly one"):
        train_batch([record], (64, 64))


def test_no_records_are_refused() -> None:
    with pytest.raises(OnnxplainError, match="no records"):
        evaluate_digits(lambda images: (np.empty(0, int), np.empty((0, 4))), count=0)


def test_a_batch_holds_shares_of_the_image_whatever_its_size() -> None:
    image = np.full((30, 60, 3), 255, np.uint8)
    batch = train_batch([Record(image, "7", np.array([[15, 0, 45, 30]], np.float32))], (64, 64))

    assert batch.boxes.tolist() == [[0.5, 0.5, 0.5, 1.0]]
    assert batch.truths.tolist() == [7]
    assert batch.images.shape == (1, 3, 64, 64)
    assert batch.images.unique().tolist() == [2.0]  # (255 / 255 - 0.5) / 0.25


def test_the_recipe_writes_a_checkpoint_and_reports_what_it_reached(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(recipe, "VALIDATION_IMAGES", 20)
    monkeypatch.setattr(recipe, "TEST_IMAGES", 20)
    path, steps = tmp_path / "digits.pt", []
    training = digits_training(replace(DIGITS_OPTIONS, epochs=2), images_per_epoch=2 * BATCH_SIZE)
    report = training.run(path, progress=steps.append)
    checkpoint = load_checkpoint(path)

    assert len(steps) == 4
    assert (report.checkpoint, report.epochs) == (path, 2)
    assert report.parameters == sum(parameter.numel() for parameter in checkpoint.module.parameters())
    assert report.test is not None
    by_file = evaluate_digits(checkpoint.module, count=20)
    assert report.test.accuracy == by_file.accuracy
    assert report.test.mean_iou == pytest.approx(by_file.mean_iou, abs=1e-5)
    assert checkpoint.labels == DIGIT_LABELS
    assert list(tmp_path.iterdir()) == [path]


def test_labels_alone_train_a_network_without_a_box_head(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(recipe, "VALIDATION_IMAGES", 20)
    monkeypatch.setattr(recipe, "TEST_IMAGES", 20)
    options = replace(DIGITS_OPTIONS, epochs=1, supervision="labels")
    report = digits_training(options, images_per_epoch=BATCH_SIZE).run(tmp_path / "digits.pt")

    assert report.test is not None
    assert report.test.mean_iou is None
    assert load_checkpoint(tmp_path / "digits.pt").module.box is None


def test_no_scene_is_shown_twice() -> None:
    first, second = (next(iter(recipe.digit_batches(number, 1))) for number in (0, 1))
    together = torch.cat([first.images, second.images]).flatten(1)

    assert len(together.unique(dim=0)) == 2 * BATCH_SIZE
    again = next(iter(recipe.digit_batches(1, 1)))
    assert torch.equal(again.images, second.images)


def test_a_path_that_cannot_be_written_is_refused_before_training(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(recipe, "VALIDATION_IMAGES", 2)
    (tmp_path / "file").touch()
    with pytest.raises(OnnxplainError, match="cannot write the checkpoint"):
        digits_training().run(tmp_path / "file" / "digits.pt")


def test_augmentation_is_refused() -> None:
    with pytest.raises(OnnxplainError, match="scenes vary as they are drawn"):
        digits_training(replace(DIGITS_OPTIONS, augmentation=Augmentation()))
