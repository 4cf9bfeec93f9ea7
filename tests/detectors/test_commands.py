"""The commands on detectors: what is printed, drawn and written as JSON."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from onnxplain import Engine
from onnxplain.contract.detectors import LAYOUTS
from tests.cli.conftest import RunCommand, write_photo
from tests.detectors.files import BLACK_BOXES, write_detector, write_yolo
from tests.detectors.test_detect import YOLO, ultralytics


@pytest.fixture
def model(tmp_path: Path) -> Path:
    return write_yolo(tmp_path / "model.onnx", YOLO, metadata=ultralytics())


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    folder = tmp_path / "photos"
    folder.mkdir()
    write_photo(folder / "a.png", (320, 320))
    write_photo(folder / "b.jpg", (100, 200), 1)
    return folder


def test_json_is_what_detect_says(run: RunCommand, model: Path, photos: Path) -> None:
    result = run("predict", model, photos, "--json", "--min-score", 0.65, "--iou", 1)
    assert (result.exit_code, result.stderr) == (0, "")
    entries = json.loads(result.stdout)
    assert [Path(entry["image"]).name for entry in entries] == ["a.png", "b.jpg"]
    for entry, found in zip(
        entries, Engine(model).detect([photos / "a.png", photos / "b.jpg"], min_score=0.65, iou=1), strict=True
    ):
        assert [each["label"] for each in entry["detections"]] == ["dog", "dog", "thing 1"]
        assert set(entry["detections"][0]) == {"xyxy", "score", "class_id", "label", "candidate"}
        np.testing.assert_allclose([each["xyxy"] for each in entry["detections"]], found.xyxy)
        assert [each["score"] for each in entry["detections"]] == found.confidence.tolist()
        assert [each["class_id"] for each in entry["detections"]] == found.class_id.tolist()
        assert [each["candidate"] for each in entry["detections"]] == found.candidate.tolist()
        assert (entry["best_score"], entry["unusable"]) == (pytest.approx(found.best_score), 0)


def test_table_has_a_row_per_detection(run: RunCommand, model: Path, photos: Path) -> None:
    rows = run("predict", model, photos).stdout.splitlines()[2:]
    assert len(rows) == 6
    assert str(photos / "a.png") in rows[0]
    assert "dog" in rows[0]
    assert "0.900" in rows[0]
    assert "40,60,120,200" in rows[0]


def test_no_detection_is_no_error(run: RunCommand, model: Path, photos: Path) -> None:
    result = run("predict", model, photos / "a.png", "--min-score", 0.95)
    assert result.exit_code == 0
    assert "none, the best candidate has 0.900" in result.stdout
    (entry,) = json.loads(run("predict", model, photos / "a.png", "--min-score", 0.95, "--json").stdout)
    assert (entry["detections"], entry["best_score"]) == ([], pytest.approx(0.9))


def test_pictures_show_the_boxes(run: RunCommand, model: Path, photos: Path, tmp_path: Path) -> None:
    """Each box has its class's colour: the dog's two sides are drawn, and nothing far from a box changes."""
    Image.new("RGB", (640, 640), (60, 60, 60)).save(photos / "a.png")
    assert run("predict", model, photos / "a.png", "-o", tmp_path / "out").exit_code == 0
    picture = np.asarray(Image.open(tmp_path / "out" / "a.boxes.png").convert("RGB")).astype(int)
    assert picture.shape == (640, 640, 3)
    changed = np.abs(picture - 60).max(axis=2) > 30
    for x in (80, 240):
        assert changed[130:380, x - 4 : x + 5].any(axis=1).all()
    assert not changed[500:, :].any()
    assert not changed[:, 620:].any()


def test_pictures_of_classes(run: RunCommand, models: Path, photos: Path, tmp_path: Path) -> None:
    assert run("predict", models / "explainable.onnx", photos / "a.png", "-o", tmp_path / "out").exit_code == 0
    assert (tmp_path / "out" / "a.boxes.png").is_file()


def test_pictures_never_overwrite_a_photo(run: RunCommand, model: Path, photos: Path) -> None:
    write_photo(photos / "a.boxes.png", (32, 32))
    result = run("predict", model, photos, "-o", photos)
    assert result.exit_code == 2
    assert "overwrite" in result.stderr


def test_what_is_assumed_is_said_once(run: RunCommand, photos: Path, tmp_path: Path) -> None:
    path = write_yolo(tmp_path / "plain.onnx", YOLO)
    result = run("predict", path, photos)
    assert result.stderr.count("\n") == 1
    assert "assumed, as yolo-dense usually has them" in result.stderr
    assert run("predict", path, photos, "--preset", "unit", "--resize", "letterbox").stderr == ""


@pytest.mark.parametrize("name", LAYOUTS)
def test_inspect_shows_layout_evidence_and_candidates(run: RunCommand, tmp_path: Path, name: str) -> None:
    path = write_detector(tmp_path / "model.onnx", name)
    shown = run("inspect", path, "--detector", name).stdout
    for text in (
        f"{name}: {LAYOUTS[name].families}",
        f"stated: {name}",
        "candidates",
        "once instrumented",
        "usually has them",
    ):
        assert text in shown
    tree = json.loads(run("inspect", path, "--detector", name, "--json").stdout)
    assert (tree["heads"], tree["detector"]["layout_name"], tree["methods"]) == ([], name, [*BLACK_BOXES])


def test_inspect_says_what_is_not_read(run: RunCommand, tmp_path: Path) -> None:
    shown = run("inspect", write_detector(tmp_path / "model.onnx", "blazeface"), "--detector", "blazeface").stdout
    assert re.search(r"not read +12 columns of each candidate", shown)
    assert re.search(r"labels +face", shown)


def test_columns_that_are_not_read_are_said(run: RunCommand, tmp_path: Path) -> None:
    """A segmenting YOLO: 2 classes, the other 78 columns are coefficients of masks."""
    names = str({0: "ant", 1: "bee"})
    known = [replace(YOLO[0], class_id=1)]
    path = write_yolo(tmp_path / "model.onnx", known, metadata=ultralytics(task="segment", names=names))
    result = run("predict", path, write_photo(tmp_path / "a.png"))
    assert "78 more columns per candidate are not read" in result.stderr
    assert "bee" in result.stdout
    assert re.search(r"not read +78 columns of each candidate", run("inspect", path).stdout)


def test_classes_per_image_are_no_option_of_detectors(run: RunCommand, model: Path, photos: Path) -> None:
    result = run("predict", model, photos, "--top-k", 3)
    assert (result.exit_code, "--top-k" in result.stderr) == (2, True)
