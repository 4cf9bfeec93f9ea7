"""Found files of three exporters, from the plain file to heatmaps on photos whose objects are known."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest

from onnxplain.contract import PRESETS, Preprocessing
from onnxplain.explainers import CAM, RISE, GradCAM
from onnxplain.explainers.explainer import Explainer
from onnxplain.exporters import instrument
from onnxplain.runtime import Engine

DOG = 243
RISE_MASKS = 200
POINTING_TOLERANCE = 15


@dataclass(frozen=True)
class RealModel:
    """A file of the assets.

    `first_class` is the index of ImageNet's class 0 (1 where 0 is background), `cat` the breed of cat that the
    model tells from the dog, `least_hits` what every method must reach of the eleven objects.
    """

    file: str
    preset: str
    first_class: int
    cat: int
    least_hits: int


MODELS = (
    RealModel("squeezenet_fp16_winml.onnx", "caffe", 0, 282, 10),
    RealModel("mobilenet_v1_0.25_128_float.onnx", "raw", 1, 281, 8),
    RealModel("mobilenet_v1_0.5_160_qdq.onnx", "raw", 1, 281, 8),
)


@pytest.fixture(scope="module", params=MODELS, ids=lambda model: model.file.split("_")[0] + model.file[-10:-5])
def real_model(
    request: pytest.FixtureRequest, assets: Path, tmp_path_factory: pytest.TempPathFactory
) -> tuple[RealModel, Engine]:
    """The model, instrumented and loaded, images stretched to its input."""
    model: RealModel = request.param
    preset = PRESETS[model.preset]
    preprocessing = Preprocessing(preset.channels, preset.scale, preset.mean, preset.std, "stretch")
    path = tmp_path_factory.mktemp("real") / model.file
    instrument(assets / "models" / model.file, path, preprocessing=preprocessing)
    return model, Engine(path)


def _methods(engine: Engine) -> list[Explainer]:
    return [CAM(engine), GradCAM(engine), RISE(engine, masks=RISE_MASKS)]


def _peak_xy(heatmap: np.ndarray) -> tuple[float, float]:
    y, x = np.unravel_index(int(heatmap.argmax()), heatmap.shape)
    return float(x), float(y)


def _distance(point_xy: tuple[float, float], box_xyxy: list[int]) -> float:
    (x, y), (x1, y1, x2, y2) = point_xy, box_xyxy
    return float(np.hypot(max(x1 - x, x - x2, 0), max(y1 - y, y - y2, 0)))


def test_the_heatmap_moves_with_the_target(real_model: tuple[RealModel, Engine], assets: Path) -> None:
    """RISE may miss the box by half a cell of its masks, which are 28 pixels wide here."""
    model, engine = real_model
    (scene,) = [row for row in _pointing(assets) if row["image"] == "both_dogcat.png"]
    photo = assets / "images" / scene["image"]
    targets = [DOG + model.first_class, model.cat + model.first_class]
    for method in _methods(engine):
        for explanation, each in zip(method(photo, target=targets), scene["objects"], strict=True):
            assert explanation.status == "ok"
            peak = _peak_xy(explanation.heatmap)
            allowed = POINTING_TOLERANCE if method.name == "rise" else 0
            assert _distance(peak, each["box"]) <= allowed, (method.name, each, peak)


def test_the_heatmap_points_at_the_object(
    real_model: tuple[RealModel, Engine], assets: Path, record_property: pytest.RecordProperty
) -> None:
    """The pointing game (Zhang et al. 2016): a hit is a maximum within 15 pixels of the object's box.

    Of each object's classes the one that the model finds likeliest is asked for.
    """
    model, engine = real_model
    for method in _methods(engine):
        hits, count = 0, 0
        for scene in _pointing(assets):
            photo = assets / "images" / scene["image"]
            scores = engine.scores(engine.preprocess(photo))[0]
            targets = [
                max((index + model.first_class for index in each["classes"]), key=lambda index: float(scores[index]))
                for each in scene["objects"]
            ]
            for explanation, each in zip(method(photo, target=targets), scene["objects"], strict=True):
                hits += _distance(_peak_xy(explanation.heatmap), each["box"]) <= POINTING_TOLERANCE
                count += 1
        record_property(method.name, f"{hits}/{count}")
        print(f"{model.file} {method.name}: {hits} of {count} objects hit")
        assert hits >= model.least_hits, method.name


def _pointing(assets: Path) -> list[dict]:
    return json.loads((assets / "images" / "pointing.json").read_text())
