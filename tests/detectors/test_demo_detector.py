"""The detector that ships: the figures of the README on images that it was not trained on, and its layout."""

from __future__ import annotations

from pathlib import Path

import pytest

from onnxplain import Engine
from onnxplain.data import open_dataset
from onnxplain.demo import DETECTOR
from onnxplain.evaluation import evaluate_detections

pytest.importorskip("skimage", reason="needs the train extra")
pytest.importorskip("sklearn", reason="needs the train extra")
pytest.importorskip("supervision", reason="needs the metrics extra")


def test_the_layout_is_in_the_file() -> None:
    detector = Engine(DETECTOR).spec.detector
    assert detector is not None
    assert (detector.layout_name, detector.classes, detector.candidates) == ("yolo-dense", 10, 189)


def test_it_finds_unseen_digits_on_unseen_textures(tmp_path: Path) -> None:
    """As many as take seconds; 1,000 give a mean average precision of 75.3 %, 96.3 % at IoU 0.5, and a recall of
    96.2 %."""
    from onnxplain.data.digits.group_samples import write_test_groups

    dataset = open_dataset(write_test_groups(tmp_path, 60))
    found = evaluate_detections(Engine(DETECTOR), dataset, ()).to_json()
    assert found["images"] == 60
    assert found["detection"]["mean_average_precision"] == pytest.approx(0.753, abs=0.06)
    assert found["detection"]["map_50"] > 0.9
    low, high = found["intervals"]["detection"]["recall"]
    assert low < 0.962 < high
    assert found["detection"]["precision"] > 0.7
