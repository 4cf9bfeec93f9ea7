"""`inspect`: the metadata of a file, and the preprocessing that fits it."""

from __future__ import annotations

import json
import re

import numpy as np
import onnx
import pytest

from onnxplain import Engine
from onnxplain.contract import PRESETS, ModelSpec
from onnxplain.explainers import METHODS, supported
from onnxplain.exporters import instrument
from tests.cli.process import run_without
from tests.exporters.many_tails import MERGED, TAILS, model
from tests.models import write_uint8_classifier


@pytest.mark.parametrize("model", ["explainable", "instrumented", "plain", "conv"])
def test_json_is_the_metadata(model, run, models):
    path = models / f"{model}.onnx"
    result = run("inspect", path, "--json")
    engine = Engine(path)
    assert ModelSpec.from_json(result.stdout) == engine.spec
    assert json.loads(result.stdout)["methods"] == list(supported(engine))


@pytest.mark.parametrize(
    ("model", "words"),
    [
        (
            "explainable",
            ["explainable", "localization, 5 classes", "zero; one", "fine", "coarse", "cam, grad-cam, "],
        ),
        ("instrumented", ["classification", "v; w; x; y; z", "map", "12x16", "(0.485, 0.456, 0.406)", "assumed"]),
        ("plain", ["not instrumented", "IR 10, opset 18", "none in the file", "1/255", "assumed", "not possible: "]),
        (
            "conv",
            [
                "not instrumented",
                "score-cam, rise, occlusion",
                "aise; if the pixels have a gradient, saliency",
                "grad-shap; if attention matrices stand in the graph, attention-rollout",
                "legrad; if a tail",
                "`onnxplain explain`",
                "auto selects map",
            ],
        ),
    ],
)
def test_text(model, words, run, models):
    result = run("inspect", models / f"{model}.onnx")
    assert (result.exit_code, result.stderr) == (0, "")
    for word in words:
        assert word in result.stdout


@pytest.mark.parametrize(
    ("tail", "built", "mode", "words"),
    [
        ("windows", {}, "auto", None),
        ("windows", {"batch": 1}, "auto", None),
        ("max pool", {"batch": 1}, "fixed", None),
        ("windows", {"batch": 1}, "fixed", "one per image in a run: the batch of 1 is fixed"),
        ("max pool", {"batch": 2}, "fixed", "one per image in a run: the batch is fixed at 2"),
        ("windows", {"unbatched": True}, "auto", "one per image in a run: the input has no batch axis"),
    ],
)
def test_how_many_targets_at_once(tail, built, mode, words, run, tmp_path):
    onnx.save(model({**TAILS, **MERGED}[tail], **built), tmp_path / "plain.onnx")
    instrument(tmp_path / "plain.onnx", tmp_path / "out.onnx", batch=mode, layers=["late"], tail=False)
    text = run("inspect", tmp_path / "out.onnx").stdout
    lines = [line.split("  ", 2)[2].strip() for line in text.splitlines() if line.startswith("  targets ")]
    assert len(lines) == (words is not None)
    assert not lines or lines[0].startswith(words)


def test_a_file_of_contract_1_has_one_target_per_image(run, models):
    assert (
        "one per image in a run: the file has contract version 1" in run("inspect", models / "explainable.onnx").stdout
    )


def test_stated_preprocessing_is_not_called_assumed(run, models):
    text = run("inspect", models / "plain.onnx", "--preset", "caffe").stdout
    assert "bgr, pixel − (104, 117, 123), crop" in text
    assert "stated: channels, scale, mean, std" in text
    assert "assumed: resize:" in text


def test_try_lists_every_preset_and_order(run, models, images):
    path, source = models / "plain.onnx", images / "a.png"
    trials = json.loads(run("inspect", path, "--try", source, "--json").stdout)["trials"]
    assert {(trial["preset"], trial["channels"]) for trial in trials} == {
        (preset, order) for preset in PRESETS for order in ("rgb", "bgr")
    }
    best = [trial["top"][0]["score"] for trial in trials]
    assert best == sorted(best, reverse=True)
    for trial in trials:
        if trial["channels"] == PRESETS[trial["preset"]].channels:
            (expected,) = Engine(path, preprocessing=PRESETS[trial["preset"]]).predict(source)
            assert [entry["class_id"] for entry in trial["top"]] == np.argsort(-expected.scores).tolist()
            assert trial["top"][0]["score"] == pytest.approx(expected.score)
    table = run("inspect", path, "--try", source).stdout
    for preset in PRESETS:
        assert table.count(preset) >= 2


def test_try_knows_that_bytes_take_raw_pixels_only(run, images, tmp_path):
    path = write_uint8_classifier(tmp_path / "bytes.onnx")
    trials = json.loads(run("inspect", path, "--try", images / "a.png", "--json").stdout)["trials"]
    assert [(trial["preset"], trial["layout"]) for trial in trials] == [("raw", "nhwc")] * 2
    assert {trial["channels"] for trial in trials} == {"rgb", "bgr"}


def test_try_keeps_what_is_stated(run, models, images):
    arguments = ["--try", images / "a.png", "--json", "--preset", "caffe"]
    trials = json.loads(run("inspect", models / "plain.onnx", *arguments).stdout)["trials"]
    assert [trial["preset"] for trial in trials] == ["caffe", "caffe"]


def test_a_plain_file_takes_about_ten_lines(run, models):
    lines = run("inspect", models / "conv.onnx").stdout.splitlines()
    assert len(lines) <= 12
    assert not [line for line in lines if line.startswith("  not ")]
    titles = [line.split("  ")[1] for line in lines[1:] if line[2] != " "]
    assert titles[:7] == ["format", "task", "labels", "input", "preprocessing", "head", "methods"]


def test_the_methods_after_instrumenting_are_those_of_the_instrumented_file(run, models):
    before = json.loads(run("inspect", models / "conv.onnx", "--json").stdout)
    after = json.loads(run("inspect", models / "instrumented.onnx", "--json").stdout)
    assert before["methods"] == ["rise", "occlusion", "shap", "lime", "sobol", "hsic", "aise"]
    assert set(before["methods_if_instrumented"]) | set(before["methods_with_tail_file"]) == set(after["methods"])
    assert before["methods_with_tail_file"] == ["ablation-cam", "recipro-cam"]
    pixels = ["saliency", "input-x-gradient", "integrated-gradients", "smooth-grad", "var-grad", "grad-shap"]
    assert before["methods_at_pixels"] == pixels
    assert before["methods_of_attention"] == ["attention-rollout", "grad-x-attention", "legrad"]
    # They are named on the line too, and that is every method of the table.
    (line,) = [line for line in run("inspect", models / "conv.onnx").stdout.splitlines() if "once instrumented" in line]
    assert set(re.split("[ ,;]+", line)) >= set(METHODS)
    assert [candidate["name"] for candidate in before["candidates"]] == ["convolved", "map"]
    assert before["file"] == {"ir_version": 10, "opsets": {"": 18}, "producer": "", "weights": []}


def test_inspect_without_the_extra(models):
    words = ["-m", "onnxplain", "inspect", str(models / "conv.onnx")]
    result = run_without(("onnx", "onnx_ir", "onnxscript"), *words)
    assert result.returncode == 0, result.stderr
    assert 'all methods that need a layer: pip install "onnxplain[export]"' in result.stdout
    result = run_without(("onnx", "onnx_ir", "onnxscript"), *words, "--layers")
    assert result.returncode == 2
    assert 'run pip install "onnxplain[export]"' in result.stderr
