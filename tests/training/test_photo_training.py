"""Photos from a file of boxes to a localizer, and to the file that predicts alike."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("torch", reason="needs the train extra")

import torch

from onnxplain.data import open_dataset
from onnxplain.errors import OnnxplainError
from onnxplain.exporters import export
from onnxplain.runtime import Engine
from onnxplain.training.backbone import SMALL_PREPROCESSING
from onnxplain.training.checkpoint import load_checkpoint
from onnxplain.training.options import TrainingOptions
from onnxplain.training.photo_training import PhotoParts, photo_training
from onnxplain.training.photos import read_photos
from onnxplain.training.prediction import localizer_predict
from onnxplain.training.score import score_predictions
from tests.training.shapes import NAMES, write_shapes

EIGHT = TrainingOptions(
    widths=(8, 16, 32),
    size_hw=(48, 64),
    epochs=80,
    batch_size=8,
    learning_rate=1e-2,
    weight_decay=0.0,
    augmentation=None,
)


@pytest.fixture(scope="module")
def eight(tmp_path_factory: pytest.TempPathFactory) -> PhotoParts:
    """Eight photos, none of them square, to learn and to be asked again."""
    source = write_shapes(tmp_path_factory.mktemp("shapes"), 8)
    photos = read_photos(open_dataset(source), EIGHT.size_hw, [])
    return PhotoParts(photos, photos, photos, ())


def test_eight_photos_are_learnt_by_heart_and_exported(eight: PhotoParts, tmp_path: Path) -> None:
    """Loss near zero, every label right, IoU above 0.9; and the file says the same, in pixels of the photos."""
    seen = []
    training = photo_training(eight, EIGHT)
    report = training.run(tmp_path / "shapes.pt", progress=seen.append)

    assert seen[-1].loss < 0.05
    assert report.test is not None
    assert report.test.accuracy == 1
    assert report.test.mean_iou > 0.9

    checkpoint = load_checkpoint(tmp_path / "shapes.pt")
    export(
        checkpoint.module,
        tmp_path / "shapes.onnx",
        input_size_hw=checkpoint.size_hw,
        layers=["features"],
        labels=checkpoint.labels,
        preprocessing=checkpoint.preprocessing,
    )
    engine = Engine(tmp_path / "shapes.onnx")
    images = [record.load() for record in eight.train.records]
    assert all(image.shape[0] != image.shape[1] for image in images)
    class_ids, boxes = localizer_predict(checkpoint.module, SMALL_PREPROCESSING)(images)
    found = engine.predict(images)
    assert [prediction.class_id for prediction in found] == class_ids.tolist()
    for prediction, box, image in zip(found, boxes, images, strict=True):
        edges = [image.shape[1], image.shape[0]] * 2
        np.testing.assert_allclose(prediction.box_xyxy, np.clip(box, 0, edges), atol=1e-3)
    score = score_predictions(
        lambda batch: (class_ids[: len(batch)], np.array([p.box_xyxy for p in found], np.float32)),
        eight.train.records,
        NAMES,
    )
    assert score.mean_iou == pytest.approx(report.test.mean_iou, abs=0.01)


def test_labels_alone_are_learnt_without_a_box_head(eight: PhotoParts, tmp_path: Path) -> None:
    blind = replace(eight.train, boxes_xyxy=(np.zeros((0, 4), np.float32),) * 8)
    parts = PhotoParts(blind, blind, blind, ())
    options = replace(EIGHT, supervision="labels", epochs=60)
    report = photo_training(parts, options).run(tmp_path / "shapes.pt")
    module = load_checkpoint(tmp_path / "shapes.pt").module

    assert report.test is not None
    assert (report.test.accuracy, report.test.mean_iou) == (1, None)
    assert report.test.quality > 0.95
    assert module.box is None
    assert parts.constant() is None
    assert eight.constant() is not None


def test_the_same_seed_gives_the_same_weights_with_augmentation(eight: PhotoParts, tmp_path: Path) -> None:
    options = replace(TrainingOptions(), widths=(4, 4), size_hw=(48, 64), epochs=2, batch_size=3)
    weights = []
    for number, seed in enumerate((0, 0, 1)):
        photo_training(eight, replace(options, seed=seed)).run(tmp_path / f"{number}.pt")
        weights.append(load_checkpoint(tmp_path / f"{number}.pt").module.classifier.weight)

    assert torch.equal(weights[0], weights[1])
    assert not torch.equal(weights[0], weights[2])


def test_photos_of_another_size_are_refused(eight: PhotoParts) -> None:
    with pytest.raises(OnnxplainError, match=r"found photos of \(48, 64\), expected \(64, 64\)"):
        photo_training(eight, replace(EIGHT, size_hw=(64, 64)))
