"""The demo: pictures for every sample and method, a table, nothing beyond the `cpu` extra."""

from __future__ import annotations

import json
import re

import numpy as np
import pytest

from onnxplain import Engine, load_image
from onnxplain.data import open_dataset
from onnxplain.data.boxes import paired_iou
from onnxplain.demo import DETECTOR, DETECTOR_IMAGES, IMAGES, MODEL, detector_samples, read_samples
from onnxplain.evaluation.boxes.box_match import match_boxes
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
    monkeypatch.setattr("onnxplain.cli.demo.detector_samples", lambda: detector_samples()[:1])
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
    page, sheet = tmp_path / "out" / "report.html", tmp_path / "out" / "detector" / "detector.png"
    assert result.stdout.rstrip().endswith(f"Every box: {sheet}\nReport, to open in a browser: {page}")
    details = data_of(page)["details"]
    assert [[each["method"] for each in detail["maps"]] for detail in details[:6]] == [methods] * 6
    assert len(details) == 7


def test_every_box_of_the_detector_has_its_map(run, tmp_path, monkeypatch):
    monkeypatch.setattr("onnxplain.cli.demo.read_samples", lambda: read_samples()[:1])
    samples = detector_samples()[:1]
    monkeypatch.setattr("onnxplain.cli.demo.detector_samples", lambda: samples)
    result = run("demo", "-o", tmp_path / "out")
    assert (result.exit_code, result.stderr) == (0, "")
    folder, engine = tmp_path / "out" / "detector", Engine(DETECTOR)
    entries = [json.loads(line) for line in (folder / "explanations.jsonl").read_text().splitlines()]
    methods = ["hires-cam", "rise"]
    for sample in samples:
        (found,) = engine.detect(sample)
        answer = ", ".join(f"{box.label} ({box.score:.2f})" for box in found)
        assert f"{sample.stem}  {answer}" in re.sub(" {2,}", "  ", result.stdout)
        of_image = [entry for entry in entries if entry["image"].endswith(sample.name)]
        assert len(of_image) == len(methods) * len(found)
        for method in methods:
            boxes = [entry["detection"]["xyxy"] for entry in of_image if entry["method"] == method]
            np.testing.assert_allclose(boxes, found.xyxy, atol=1e-3)
        for entry in of_image:
            heat = np.load(folder / entry["heatmap"])
            x1, y1, x2, y2 = (round(side) for side in entry["detection"]["xyxy"])
            y, x = np.unravel_index(heat.argmax(), heat.shape)
            # A cell of hires-cam's map is 17 pixels wide: its middle can be beside a box that it is half inside of.
            margin = 9 if entry["method"] == "hires-cam" else 2
            assert x1 - margin <= x < x2 + margin and y1 - margin <= y < y2 + margin
            assert (folder / entry["overlay"]).is_file()
    assert load_image(folder / "detector.png").shape[1] == 1920


def test_the_shipped_detector_is_small_and_right_about_its_samples():
    assert DETECTOR.stat().st_size < 850_000
    engine = Engine(DETECTOR)
    assert {"hires-cam", "layer-cam", "rise"} <= set(supported(engine))
    dataset = open_dataset(DETECTOR_IMAGES)
    for path in detector_samples():
        (found,) = engine.detect(path)
        records = [record for record in dataset.records if record.image == path]
        truths = np.concatenate([record.boxes_xyxy for record in records])
        classes = np.concatenate([np.full(len(record.boxes_xyxy), int(record.label)) for record in records])
        owners = match_boxes(found.xyxy, found.class_id, truths, classes, min_iou=0.7)
        assert sorted(owners) == list(range(len(truths)))


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
    assert result.stdout.rstrip().endswith("detector.png")
    assert "demo.png" in result.stdout
    assert (tmp_path / "onnxplain-demo" / "demo.png").is_file()
