"""Where the number of channels comes from: the graph, the file that closes it, or the user."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from onnxplain.contract import PreprocessingParts
from onnxplain.exporters import instrument
from onnxplain.runtime import Engine
from tests.sidecars.test_readers import YOLO
from tests.sidecars.test_use import beside, run, write_model

Said = dict[str, Any]
ORIGINS: dict[str, tuple[tuple[int | str, ...], int, Said, str]] = {
    "number, closed by config.json": (("N", "p", 12, 12), 4, {"config": 4}, "read from config.json"),
    "grey, closed by config.json": (("N", "p", 12, 12), 1, {"config": 1}, "read from config.json"),
    "all open": (("N", "p", "q", "r"), 4, {"config": 4}, "read from config.json"),
    "closed by Ultralytics": (("N", "p", 12, 12), 4, {"ultralytics": 4}, "read from the file's Ultralytics metadata"),
    "number in the graph": (("N", 4, 12, 12), 4, {"config": 4}, "read from the graph"),
    "number in the graph alone": (("N", 4, 12, 12), 4, {}, "read from the graph"),
    "stated": (("N", "p", 12, 12), 4, {"config": 4, "stated": 4}, "stated"),
    "colours without an order": (("N", "p", 12, 12), 3, {"config": 3}, "assumed"),
}


@pytest.mark.parametrize(("shape", "channels", "said", "origin"), ORIGINS.values(), ids=ORIGINS)
def test_the_origin_of_channels_is_what_closed_them(
    tmp_path: Path, shape: tuple[int | str, ...], channels: int, said: Said, origin: str
) -> None:
    ultralytics = {**YOLO, "task": "classify", "imgsz": "[12, 12]"}
    props = {**ultralytics, "channels": str(said["ultralytics"])} if "ultralytics" in said else None
    path = write_model(tmp_path / "m.onnx", shape, props=props, channels=channels)
    if "config" in said:
        beside(path, config={"num_channels": said["config"], "image_size": 12})
    stated = PreprocessingParts(channels=said.get("stated"))
    engine, written = Engine(path, preprocessing=stated), tmp_path / "e.onnx"
    report = instrument(path, written, preprocessing=stated)
    for source in (engine.spec.input, report.spec.input, Engine(written).spec.input):
        assert source.preprocessing.channel_count == channels
        assert str(source.origins.channels) == origin
    text = run("inspect", path, *(["--channels", channels] if "stated" in said else [])).stdout
    assert f"{origin}: channels" in text
    renewed = instrument(written, tmp_path / "f.onnx").spec.input
    assert str(renewed.origins.channels) == origin
