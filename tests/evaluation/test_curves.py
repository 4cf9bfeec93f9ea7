"""Curves over thresholds and changed pixels: their points are the means of the rows, their peaks the metrics."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from onnxplain import Engine
from onnxplain.data import DataSet, open_dataset
from onnxplain.errors import OnnxplainError
from onnxplain.evaluation import Evaluation, evaluate
from onnxplain.evaluation.metrics.causal import area_under
from onnxplain.evaluation.metrics.statistic import unpack_bits
from onnxplain.evaluation.tally import BOOTSTRAP_REPLICATES, draw_weights
from onnxplain.explainers.levels import LEVELS
from tests.evaluation.blue_and_red import write_model
from tests.training.shapes import write_shapes

METHODS = ("grad-cam", "eigen-cam")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("curves")
    write_model(folder / "model.onnx")
    write_shapes(folder / "data", 6)
    return folder


@pytest.fixture(scope="module")
def dataset(folder: Path) -> DataSet:
    return open_dataset(folder / "data" / "boxes.csv")


@pytest.fixture(scope="module")
def measured(folder: Path, dataset: DataSet) -> Evaluation:
    return evaluate(Engine(folder / "model.onnx"), dataset, METHODS, "all", output=folder / "out")


def rows_of(folder: Path) -> list[dict]:
    return [json.loads(line) for line in (folder / "out" / "images.jsonl").read_text().splitlines()]


def test_a_curve_over_thresholds_is_the_share_of_hits_and_its_peak_is_maxboxacc(
    measured: Evaluation, folder: Path
) -> None:
    curves = {curve.subject.path: curve for curve in measured.curves if curve.metric.name == "maxboxacc"}
    assert set(curves) == {("methods", name) for name in METHODS} | {("baselines", "center_gaussian")}
    for path, curve in curves.items():
        assert (curve.over, curve.name, curve.count) == ("threshold", "", 6)
        hits = [unpack_bits(row[path[0]][path[1]]["maxboxacc"], LEVELS) for row in rows_of(folder)]
        np.testing.assert_allclose(curve.values, np.mean(hits, axis=0))
        assert curve.values.max() == pytest.approx(measured.value(*path, "maxboxacc"))
        assert (curve.low <= curve.values).all() and (curve.values <= curve.high).all()
        np.testing.assert_allclose(curve.positions[[0, 1, -1]], [0, 1 / 255, 254 / 255])


def test_each_iou_of_maxboxacc_v2_has_a_curve(measured: Evaluation) -> None:
    for name in METHODS:
        curves = [
            curve for curve in measured.curves if curve.metric.name == "maxboxacc_v2" and curve.subject.path[-1] == name
        ]
        assert [curve.name for curve in curves] == ["IoU ≥ 0.3", "IoU ≥ 0.5", "IoU ≥ 0.7"]
        peaks = [float(curve.values.max()) for curve in curves]
        assert np.mean(peaks) == pytest.approx(measured.value("methods", name, "maxboxacc_v2"))


@pytest.mark.parametrize("metric", ["insertion", "deletion"])
def test_the_curve_of_changed_pixels_is_the_mean_of_the_images_curves(
    metric: str, measured: Evaluation, folder: Path
) -> None:
    rows = rows_of(folder)
    weights = np.array([draw_weights(0, row["image"]) for row in rows]).T
    assert weights.shape == (BOOTSTRAP_REPLICATES, 6)
    for name in METHODS:
        (curve,) = [each for each in measured.curves if each.metric.name == metric and each.subject.path[-1] == name]
        each = np.array([row["methods"][name][f"{metric}_curve"] for row in rows])
        np.testing.assert_allclose(curve.values, each.mean(axis=0))
        # The area under each image's curve is its metric, as the authors define it.
        areas = [area_under(points) for points in each]
        np.testing.assert_allclose(areas, [row["methods"][name][metric] for row in rows], atol=1e-6)
        replicates = (weights @ each) / weights.sum(axis=1, keepdims=True)
        np.testing.assert_allclose(curve.low, np.percentile(replicates, 2.5, axis=0))
        np.testing.assert_allclose(curve.high, np.percentile(replicates, 97.5, axis=0))
        assert (curve.positions[0], curve.positions[-1], curve.over) == (0, 1, "changed pixels")


def test_a_curve_of_another_length_is_named(measured: Evaluation, folder: Path, dataset: DataSet) -> None:
    path = folder / "out" / "images.jsonl"
    whole = path.read_text()
    try:
        rows = rows_of(folder)
        rows[3]["methods"]["grad-cam"]["deletion_curve"].pop()
        path.write_text("".join(json.dumps(row) + "\n" for row in rows))
        with pytest.raises(OnnxplainError, match=f"{rows[3]['image']}: found a curve of") as caught:
            evaluate(Engine(folder / "model.onnx"), dataset, METHODS, "all", output=folder / "out")
        assert "\n" not in str(caught.value)
    finally:
        path.write_text(whole)


def test_without_faithfulness_there_are_curves_over_thresholds_only(folder: Path, dataset: DataSet) -> None:
    found = evaluate(Engine(folder / "model.onnx"), dataset, ("grad-cam",))
    assert {curve.over for curve in found.curves} == {"threshold"}
