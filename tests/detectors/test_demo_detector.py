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
    spec = Engine(DETECTOR).spec
    assert spec.detector is not None
    assert (spec.detector.layout_name, spec.detector.classes, spec.detector.candidates) == ("yolo-dense", 10, 189)
    assert [(layer.size_hw, layer.channels) for layer in spec.layers] == [((12, 12), 96)]


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


@pytest.mark.parametrize("method", ["hires-cam", "layer-cam"])
def test_its_maps_point_into_the_boxes(method: str, tmp_path: Path) -> None:
    """100 images give 94.8 % and 96.1 % of hottest pixels inside, and 75.6 % and 69.6 % of the heat."""
    from onnxplain.data.digits.group_samples import write_test_groups

    dataset = open_dataset(write_test_groups(tmp_path, 25))
    found = evaluate_detections(Engine(DETECTOR), dataset, (method,)).to_json()["methods"][method]
    assert found["pointing"] > 0.85
    assert found["energy"] > 0.6
    assert found["energy_others"] < 0.03
