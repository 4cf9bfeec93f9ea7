"""The demo: pictures for every sample and method, a table, nothing beyond the `cpu` extra."""

from __future__ import annotations

import json

import numpy as np
import pytest

from onnxplain import Engine, load_image
from onnxplain.data.boxes import paired_iou
from onnxplain.demo import IMAGES, MODEL, read_samples
from onnxplain.explainers import supported
from tests.cli.process import BEYOND_CPU, run_without
from tests.cli.test_report import data_of


def test_samples_are_six_digits_with_boxes_inside():
    samples = read_samples()
    assert len({sample.label for sample in samples}) == len(samples) == 6
    for sample in samples:
        height, width = sample.load().shape[:2]
        x1, y1, x2, y2 = sample.boxes_xyxy[0]
        assert 0 <= x1 < x2 <= width
        assert 0 <= y1 < y2 <= height
        assert height != width
    assert sum(path.stat().st_size for path in IMAGES.iterdir()) < 6 * 60_000


@pytest.mark.parametrize("model", ["explainable", "shipped"])
def test_pictures_results_and_table(model, run, models, tmp_path, monkeypatch):
    path = MODEL if model == "shipped" else models / f"{model}.onnx"
    monkeypatch.setattr("onnxplain.cli.demo.MODEL", path)
    result = run("demo", "-o", tmp_path / "out")
    assert (result.exit_code, result.stderr) == (0, "")
    engine, samples, rows = Engine(path), read_samples(), result.stdout.splitlines()[2:8]
    methods = [name for name in ("cam", "grad-cam", "augmented-grad-cam", "rise") if name in supported(engine)]
    entries = [json.loads(line) for line in (tmp_path / "out" / "explanations.jsonl").read_text().splitlines()]
    assert [entry["method"] for entry in entries] == [*methods] * 6
    for entry in entries:
        assert (tmp_path / "out" / entry["overlay"]).is_file()
        assert (tmp_path / "out" / entry["heatmap"]).is_file()
    for sample, row in zip(samples, rows, strict=True):
        (prediction,) = engine.predict(sample.image)
        overlap = paired_iou(np.array([prediction.box_xyxy]), sample.boxes_xyxy)[0]
        assert row.split() == [sample.name, sample.label, prediction.label, f"{prediction.score:.3f}", f"{overlap:.2f}"]
    height, width = load_image(tmp_path / "out" / "demo.png").shape[:2]
    assert width == 1920
    assert height < width
    page = tmp_path / "out" / "report.html"
    assert result.stdout.rstrip().endswith(f"demo.png\nReport, to open in a browser: {page}")
    assert [[each["method"] for each in detail["maps"]] for detail in data_of(page)["details"]] == [methods] * 6


def test_the_shipped_model_is_right_about_its_samples():
    engine = Engine(MODEL)
    assert {"cam", "grad-cam", "rise"} <= set(supported(engine))
    for sample in read_samples():
        (prediction,) = engine.predict(sample.image)
        assert prediction.label == sample.label
        assert paired_iou(np.array([prediction.box_xyxy]), sample.boxes_xyxy)[0] > 0.5


def test_it_needs_no_more_than_the_cpu_extra(tmp_path):
    result = run_without((*BEYOND_CPU, "jinja2"), "-m", "onnxplain.cli.main", "demo", folder=tmp_path)
    assert result.returncode == 0, result.stderr
    assert result.stdout.rstrip().endswith("demo.png")
    assert (tmp_path / "onnxplain-demo" / "demo.png").is_file()
