"""`instrument` and the flags that state a preprocessing."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import get_args

import pytest

from onnxplain import Engine
from onnxplain.cli.options.preprocessing import StatedInput
from onnxplain.cli.output.export_report import REFERENCES
from onnxplain.contract import GRAY_PRESETS, PRESETS, BoxSpec, Preprocessing
from onnxplain.errors import OnnxplainError
from onnxplain.exporters.checks.report import Reference
from tests.cli.conftest import write_convolutional

IMAGENET = PRESETS["imagenet"]

STATED = [
    (StatedInput(preset="caffe"), IMAGENET, PRESETS["caffe"]),
    # A preset says nothing about resizing.
    (StatedInput(preset="raw"), replace(IMAGENET, resize="stretch"), replace(PRESETS["raw"], resize="stretch")),
    (StatedInput(preset="raw", resize="letterbox"), IMAGENET, replace(PRESETS["raw"], resize="letterbox")),
    (StatedInput(mean=(0.5,), std=(0.25,)), IMAGENET, replace(IMAGENET, mean=(0.5,) * 3, std=(0.25,) * 3)),
    (StatedInput(preset="caffe", channels="rgb"), IMAGENET, replace(PRESETS["caffe"], channels="rgb")),
    (StatedInput(preset="raw", scale=2.0), GRAY_PRESETS["imagenet"], replace(GRAY_PRESETS["raw"], scale=2.0)),
    (StatedInput(channels="gray"), IMAGENET, GRAY_PRESETS["imagenet"]),
    (StatedInput(size=(9, 9)), IMAGENET, IMAGENET),
]


@pytest.mark.parametrize(("stated", "base", "expected"), STATED)
def test_stated_parts_replace_those_of_the_base(stated: StatedInput, base: Preprocessing, expected: Preprocessing):
    assert stated.apply(base) == expected


def test_a_preset_without_a_form_for_one_channel_is_refused():
    with pytest.raises(OnnxplainError, match="preset: found 'caffe'"):
        StatedInput(preset="caffe").apply(GRAY_PRESETS["raw"])


FLAGS = [
    ([], IMAGENET, True),
    (["--preset", "inception"], PRESETS["inception"], False),
    (["--resize", "letterbox"], replace(IMAGENET, resize="letterbox"), False),
    (
        ["--mean", "1,2,3", "--std", "4", "--scale", "1/255", "--channels", "bgr"],
        Preprocessing("bgr", 1 / 255, (1, 2, 3), (4, 4, 4)),
        False,
    ),
    (["--preset", "caffe", "--mean", "0.5"], Preprocessing("bgr", 1.0, (0.5,) * 3), False),
]


@pytest.mark.parametrize(("flags", "expected", "assumed"), FLAGS)
def test_flags_are_kept_in_the_file(flags, expected, assumed, run, models, tmp_path):
    out = tmp_path / "out.onnx"
    result = run("instrument", models / "conv.onnx", "-o", out, *flags)
    assert (result.exit_code, result.stderr) == (0, "")
    spec = Engine(out).spec
    assert spec.input.preprocessing == expected
    assert spec.input.assumed is assumed
    assert ("assumed" in result.stdout) is assumed


def test_layers_labels_and_box(run, tmp_path):
    source = write_convolutional(tmp_path / "box.onnx", box=True)
    labels, out = tmp_path / "labels.txt", tmp_path / "out.onnx"
    labels.write_text("ant\nbee\ncat\ndog\neel\n")
    result = run(
        *("instrument", source, "-o", out, "--layer", "auto", "--layer", "convolved", "--labels", labels),
        *("--logits", "logits", "--box", "where", "--box-format", "xyxy", "--box-units", "pixels", "--json"),
    )
    assert (result.exit_code, result.stderr) == (0, "")
    spec = Engine(out).spec
    assert spec.labels == ("ant", "bee", "cat", "dog", "eel")
    assert spec.box == BoxSpec("xyxy", "pixels")
    assert spec.input.preprocessing.resize == "stretch"
    assert [layer.name for layer in spec.layers] == ["convolved", "map"]
    report = json.loads(result.stdout)
    assert report["spec"] == json.loads(spec.to_json())
    assert report["path"] == str(out)
    assert [check["layer"] for check in report["checks"]["layers"]] == ["convolved", "map"]


def test_a_part_of_the_preprocessing_keeps_what_is_assumed_of_a_localizer(run, tmp_path):
    source, out = write_convolutional(tmp_path / "box.onnx", box=True), tmp_path / "out.onnx"
    run("instrument", source, "-o", out, "--logits", "logits", "--box", "where", "--scale", "1")
    assert Engine(out).spec.input.preprocessing == replace(IMAGENET, scale=1.0, resize="stretch")


def test_required_inputs(run, models, tmp_path):
    out = tmp_path / "out.onnx"
    assert run("instrument", models / "conv.onnx", "-o", out, "--required-inputs").exit_code == 0
    import onnxruntime

    session = onnxruntime.InferenceSession(out, providers=["CPUExecutionProvider"])
    assert [tensor.name for tensor in session.get_inputs()] == ["image", "target", "explain"]


def test_the_tail_is_written_unless_refused(run, models, tmp_path):
    out = tmp_path / "out.onnx"
    result = run("instrument", models / "conv.onnx", "-o", out, "--json")
    report = json.loads(result.stdout)
    assert (report["tail"], report["spec"]["tail"]["layer"]) == ("yes, out.tail.onnx", "map")
    assert report["checks"]["tail_error"] < 1e-5
    assert (
        f"out.tail.onnx, {(tmp_path / 'out.tail.onnx').stat().st_size / 1e6:.2f} MB, from map"
        in run("inspect", out).stdout
    )
    (tmp_path / "out.tail.onnx").unlink()
    assert "found no tail file, expected it in the folder of out.onnx" in run("inspect", out).stdout
    result = run("instrument", models / "conv.onnx", "-o", out, "--no-tail")
    assert "no: not asked for" in result.stdout
    assert [path.name for path in tmp_path.iterdir()] == ["out.onnx"]
    assert "not recipro-cam" in run("inspect", out).stdout


def test_the_report_says_what_was_checked(run, models, tmp_path):
    text = run("instrument", models / "conv.onnx", "-o", tmp_path / "out.onnx").stdout
    for words in (
        "written",
        "cam",
        "yes, at map",
        "original outputs differ by",
        "gradient error",
        "float64",
        "tail's outputs differ by",
    ):
        assert words in text


def test_shuffled_weights_are_told_wherever_the_file_is_shown(run, models, tmp_path):
    out = tmp_path / "out.onnx"
    result = run("instrument", models / "conv.onnx", "-o", out, "--shuffle-weights", 3)
    assert (result.exit_code, result.stderr) == (0, "")
    assert "2 weights shuffled, seed 3" in result.stdout
    assert "shuffled, seed 3" in run("inspect", out).stdout
    assert json.loads(run("inspect", out, "--json").stdout)["shuffle_seed"] == 3
    assert "shuffled" not in run("inspect", models / "instrumented.onnx").stdout
    assert run("instrument", models / "conv.onnx", "-o", out, "--shuffle-weights", -1).exit_code == 2


def test_the_reference_of_a_gradient_is_said_in_words(run, models, tmp_path):
    words = "finite differences, float64 on onnx.reference"
    report = json.loads(run("instrument", models / "conv.onnx", "-o", tmp_path / "one.onnx", "--json").stdout)
    assert {check["reference"] for check in report["checks"]["layers"]} == {words}
    assert words in run("instrument", models / "conv.onnx", "-o", tmp_path / "two.onnx").stdout


def test_every_reference_has_its_words():
    assert set(REFERENCES) == set(get_args(Reference))


def test_no_gate_is_told(run, models, tmp_path):
    out = tmp_path / "out.onnx"
    text = run("instrument", models / "conv.onnx", "-o", out, "--no-gate").stdout
    assert text.count("gate   ") == 1 and "none: every run computes the gradients of all layers" in text
    assert "none: every run computes" in run("inspect", out).stdout
    assert "none: every run computes" not in run("inspect", models / "instrumented.onnx").stdout
    assert json.loads(run("inspect", out, "--json").stdout)["gated"] is False
