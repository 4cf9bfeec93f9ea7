from __future__ import annotations

import importlib.resources
import json
from pathlib import Path

import numpy as np
import pytest

from onnxplain.data import open_dataset
from onnxplain.data.digits.group_samples import GROUP_SAMPLES
from onnxplain.data.digits.samples import ANNOTATIONS, SAMPLES, write_samples
from onnxplain.demo import DETECTOR_IMAGES, detector_samples
from onnxplain.runtime.image import load_image

SHIPPED = Path(str(importlib.resources.files("onnxplain"))) / "demo" / "images"


def annotations(folder: Path) -> list[dict[str, object]]:
    tree: list[dict[str, object]] = json.loads((folder / ANNOTATIONS).read_text(encoding="utf-8"))
    return tree


def test_shipped_samples_are_small_and_have_a_box_inside_the_image() -> None:
    rows = annotations(SHIPPED)

    assert sorted(str(row["file"]) for row in rows) == sorted(path.name for path in SHIPPED.glob("*.png"))
    assert len({row["label"] for row in rows}) == len(rows) == len(SAMPLES) == 6
    for row in rows:
        path = SHIPPED / str(row["file"])
        height, width = load_image(path).shape[:2]
        x1, y1, x2, y2 = np.array(row["box_xyxy"], float)
        assert path.stat().st_size < 60_000
        assert height != width
        assert 0 <= x1 < x2 <= width and 0 <= y1 < y2 <= height


def test_shipped_samples_can_be_drawn_again(tmp_path: Path) -> None:
    """Within rounding: OpenCV's resampling may differ by a grey level or two between versions."""
    pytest.importorskip("skimage", reason="needs the train extra")
    pytest.importorskip("sklearn", reason="needs the train extra")
    paths = write_samples(tmp_path)

    assert len(paths) == len(SAMPLES)
    assert annotations(tmp_path) == annotations(SHIPPED)
    for path in paths:
        drawn, shipped = load_image(path).astype(int), load_image(SHIPPED / path.name).astype(int)
        assert np.abs(drawn - shipped).max() <= 2


def test_shipped_samples_of_the_detector_are_a_small_data_set() -> None:
    dataset = open_dataset(DETECTOR_IMAGES)
    assert (dataset.images, dataset.problems) == (len(GROUP_SAMPLES), ())
    paths = detector_samples()
    assert len(paths) == 3
    for path in paths:
        height, width = load_image(path).shape[:2]
        assert height != width
        assert path.stat().st_size < 60_000
    boxes = {path.stem: 0 for path in paths}
    for record in dataset.records:
        boxes[record.name.partition("#")[0]] += len(record.boxes_xyxy)
    # The name of an image spells its digits.
    assert boxes == {name: len(name.partition("-")[0]) for name in boxes}
    # Two digits of one class in one image: a map of the class would show both.
    assert any(len(record.boxes_xyxy) > 1 for record in dataset.records)
