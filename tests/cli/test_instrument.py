"""`instrument` and the flags that state a preprocessing."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import get_args

import pytest

from onnxplain import Engine
from onnxplain.cli.output.export_report import REFERENCES
from onnxplain.contract import PRESETS, BoxSpec, Preprocessing, PreprocessingParts
from onnxplain.exporters.checks.report import Reference
from tests.cli.conftest import write_convolutional

IMAGENET = PRESETS["imagenet"]

# Options, the preprocessing in the file, and which parts of it are assumed.
FLAGS = [
    ([], IMAGENET, {"channels", "scale", "mean", "std", "resize"}),
    (["--preset", "inception"], PRESETS["inception"], {"resize"}),
    # A preset says nothing about resizing.
    (["--preset", "raw", "--resize", "stretch"], replace(PRESETS["raw"], resize="stretch"), set()),
    (["--resize", "letterbox"], replace(IMAGENET, resize="letterbox"), {"channels", "scale", "mean", "std"}),
    (
        ["--mean", "1,2,3", "--std", "4", "--scale", "1/255", "--channels", "bgr"],
        Preprocessing("bgr", 1 / 255, (1, 2, 3), (4, 4, 4)),
        {"resize"},
    ),
    (["--preset", "caffe", "--mean", "0.5"], Preprocessing("bgr", 1.0, (0.5,) * 3), {"resize"}),
    (["--preset", "caffe", "--channels", "rgb"], replace(PRESETS["caffe"], channels="rgb"), {"resize"}),
    # One number says what it says and no more.
    (["--scale", "1/255"], PRESETS["unit"], {"channels", "mean", "std", "resize"}),
    (["--mean", "0.5", "--std", "0.25"], Preprocessing("rgb", 1.0, (0.5,), (0.25,)), {"channels", "scale", "resize"}),
    (["--depth", "12"], replace(IMAGENET, depth=12), {"channels", "scale", "mean", "std", "resize"}),
]


@pytest.mark.parametrize(("flags", "expected", "assumed"), FLAGS)
def test_flags_are_kept_in_the_file(flags, expected, assumed, run, models, tmp_path):
    out = tmp_path / "out.onnx"
    result = run("instrument", models / "conv.onnx", "-o", out, *flags)
    assert (result.exit_code, result.stderr) == (0, "")
    spec = Engine(out).spec
    assert spec.input.preprocessing == expected
    assert set(spec.input.origins.assumed) == assumed
    assert ("assumed: " in result.stdout) is bool(assumed)


def test_stated_parts_replace_those_of_an_explainable_file(run, models, tmp_path):
    """The parts that the user states have a new origin; the others keep theirs, in the engine and when written."""
    first, second = tmp_path / "first.onnx", tmp_path / "second.onnx"
    run("instrument", models / "conv.onnx", "-o", first, "--preset", "caffe")
    run("instrument", first, "-o", second, "--resize", "stretch", "--mean", "1")
    expected = replace(PRESETS["caffe"], mean=(1.0,) * 3, resize="stretch")
    written = Engine(second).spec.input
    opened = Engine(first, preprocessing=PreprocessingParts(mean=(1.0,), resize="stretch")).spec.input
    assert written == opened
    assert written.preprocessing == expected
    assert not written.origins.assumed
    unchanged = Engine(first, preprocessing=PreprocessingParts(scale=2.0)).spec.input
    assert unchanged.preprocessing == replace(PRESETS["caffe"], scale=2.0)
    assert unchanged.origins.assumed == ("resize",)


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
    assert Engine(out).spec.input.preprocessing == Preprocessing(resize="stretch")


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
