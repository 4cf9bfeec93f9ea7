from __future__ import annotations

import json

import numpy as np
import pytest

from onnxplain.explainers import AugmentedGradCAM
from onnxplain.runtime import Engine

OPTIONS = ["--copies", 7, "--rotation", 0.3, "--translation", 0.2, "--zoom", 1.2, "--mirror", "--seed", 2]


def test_options_reach_the_method_and_the_report_the_results(run, models, images, tmp_path):
    out = tmp_path / "out"
    arguments = ["-m", "augmented-grad-cam", *OPTIONS, "--points", 2, "--layer", "map", "--target", 3, "--target", 1]
    result = run("explain", models / "instrumented.onnx", images / "a.png", *arguments, "-o", out)
    assert result.exit_code == 0
    explainer = AugmentedGradCAM(
        Engine(models / "instrumented.onnx"),
        "map",
        copies=7,
        rotation=0.3,
        translation=0.2,
        zoom=1.2,
        mirror=True,
        seed=2,
        points=2,
    )
    lines = [json.loads(line) for line in (out / "explanations.jsonl").read_text().splitlines()]
    for line, explanation in zip(lines, explainer.for_targets(str(images / "a.png"), [3, 1]), strict=True):
        np.testing.assert_array_equal(np.load(out / line["heatmap"]), explanation.heatmap)
        report = explanation.report.as_json()
        assert {name: line[name] for name in report} == report
        assert line["evaluations"] == 8
        assert explanation.report.summary() in result.output


@pytest.mark.parametrize(
    ("arguments", "parts"),
    [
        (["--copies", 0], ["--copies"]),
        (["--translation", 1], ["--translation"]),
        (["--zoom", 0.5], ["--zoom"]),
        (["--mode", "median"], ["--mode", "super-resolution"]),
        (["--copies", 300, "--translation", 0.99], ["shows the image in none", "smaller translation"]),
        (["--layer", "map", "--layer", "convolved"], ["augmented-grad-cam", "2 layers"]),
    ],
)
def test_bad_options_are_one_line_and_status_2(run, models, images, tmp_path, arguments, parts):
    result = run(
        *("explain", models / "instrumented.onnx", images / "a.png", "-m", "augmented-grad-cam", *arguments),
        *("-o", tmp_path / "out"),
    )
    assert result.exit_code == 2
    assert result.stderr.count("\n") == 1
    for part in parts:
        assert part in result.stderr
