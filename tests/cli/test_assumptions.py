"""What is assumed is said, once per run and part by part; deep images are read as they are stated."""

from __future__ import annotations

import json

import numpy as np
import onnx
import pytest
from PIL import Image

from onnxplain import Engine
from onnxplain.contract import Preprocessing
from tests.exporters.test_any_input import write_int8
from tests.models import write_classifier
from tests.runtime.test_spec import write_graph

ALL = ["--preset", "raw", "--resize", "crop"]


@pytest.mark.parametrize(
    ("flags", "named", "options"),
    [
        (
            [],
            "channels rgb, scale 1/255, mean (0.485, 0.456, 0.406), std (0.229, 0.224, 0.225), resize crop",
            "--preset",
        ),
        (["--scale", "1/255"], "channels rgb, mean 0, std 1, resize crop", "--channels, --mean, --std, --resize"),
        (["--preset", "caffe"], "resize crop", "--resize"),
        (ALL, "", ""),
    ],
)
@pytest.mark.parametrize("method", ["rise", "grad-cam"], ids=["plain", "instrumented on the way"])
@pytest.mark.parametrize("command", ["predict", "explain", "evaluate"])
def test_one_warning_per_run(command, method, flags, named, options, run, models, images, tmp_path):
    """Also where the line about an instrumented copy names the preprocessing."""
    asked = ["-m", method, *(["--masks", "8"] if method == "rise" else [])]
    arguments = {
        "predict": [images, "--json"],
        "explain": [images, *asked, "-o", tmp_path / "out"],
        "evaluate": [
            "digits",
            "--limit",
            "2",
            *asked,
            "-o",
            tmp_path / "out",
            "--target",
            "predicted",
        ],
    }[command]
    result = run(command, models / ("plain.onnx" if method == "rise" else "conv.onnx"), *arguments, *flags)
    assert result.exit_code == 0
    warned = [line for line in result.stderr.splitlines() if "warning" in line]
    assert len(warned) == bool(named)
    if named:
        assert f"{named}: state them with {options}" in warned[0]
        assert "inspect --try" in warned[0]
    if command == "predict":
        assert len(json.loads(result.stdout)) == 3


def test_inspect_names_the_origin_of_each_part(run, models):
    text = run("inspect", models / "plain.onnx", "--scale", "1/255", "--depth", "12").stdout
    assert "stated: scale, depth" in text
    assert "assumed: channels, mean, std, resize" in text
    assert "12 of 16 bits" in text
    tree = json.loads(run("inspect", models / "plain.onnx", "--scale", "1/255", "--json").stdout)
    kinds = {part: origin["kind"] for part, origin in tree["input"]["origins"].items()}
    assert kinds == {
        **dict.fromkeys(("channels", "mean", "std", "resize", "crop_share", "pixels", "depth"), "assumed"),
        "scale": "stated",
    }


def test_try_says_when_nothing_is_decided(run, tmp_path, images):
    two = write_graph(tmp_path / "two.onnx", (1, 1, 1, 2), outputs={"c": "identity"})
    sure = write_graph(tmp_path / "sure.onnx", (1, 3, 4, 4), outputs={"c": "identity"})
    unsure = write_classifier(tmp_path / "unsure.onnx")
    texts = [run("inspect", path, "--try", images / "a.png", "--layout", "nchw").stdout for path in (two, sure, unsure)]
    assert "not decided: two classes only" in texts[0]
    assert "above 0.9" in texts[1]
    trials = json.loads(run("inspect", unsure, "--try", images / "a.png", "--json").stdout)
    confident = [trial for trial in trials["trials"] if trial["top"][0]["score"] > 0.9]
    assert (trials["trials_undecided"] is not None) is (len(confident) > 1)
    assert "unit" in texts[2]


@pytest.fixture
def xray(tmp_path):
    """A grey model, an image of 12 bits in 16, and its twin of 8 bits."""
    model = write_graph(tmp_path / "grey.onnx", ("N", 1, 16, 16), outputs={"classes": "identity"})
    deep = np.random.default_rng(0).integers(0, 4096, (16, 16), np.uint16)
    deep[0, 0] = 4095
    Image.fromarray(deep).save(tmp_path / "deep.png")
    Image.fromarray(np.rint(deep / 4095 * 255).astype(np.uint8)).save(tmp_path / "twin.png")
    return model, deep, tmp_path


def test_depth_and_its_warning(xray, run):
    model, deep, folder = xray
    stated = ["--preset", "unit", "--resize", "stretch"]
    plain = run("predict", model, folder / "deep.png", folder / "deep.png", *stated, "--json")
    (warned,) = plain.stderr.splitlines()
    assert "deep.png: found values up to 4095 in an image of 16 bits" in warned
    assert "give --depth 12" in warned
    result = run("predict", model, folder / "deep.png", folder / "twin.png", *stated, "--depth", "12", "--json")
    assert result.stderr == ""
    first, second = json.loads(result.stdout)
    assert first["score"] == pytest.approx(second["score"])
    assert first["class_id"] == second["class_id"]
    preprocessing = Preprocessing("gray", 1 / 255, (0,), (1,), "stretch", depth=12)
    seen = Engine(model, preprocessing=preprocessing).preprocess(folder / "deep.png")[0, 0]
    assert np.allclose(seen, np.rint(deep / 4095 * 255) / 255, atol=1e-6)


def test_many_channels_from_the_command_line(run, tmp_path):
    model = write_graph(tmp_path / "twelve.onnx", ("N", 12, 16, 16), outputs={"classes": "identity"})
    np.save(tmp_path / "twelve.npy", np.random.default_rng(0).random((12, 20, 18), np.float32))
    flags = ["--pixels", "native", "--scale", "1", "--mean", "0", "--std", "1", "--resize", "stretch"]
    out = tmp_path / "out"
    result = run("explain", model, tmp_path / "twelve.npy", "-m", "rise", "--masks", "8", "-o", out, *flags)
    assert (result.exit_code, result.stderr) == (0, "")
    assert np.load(out / "twelve.rise.npy").shape == (20, 18)
    refused = run("predict", model, tmp_path / "twelve.npy", *flags[2:])
    assert refused.exit_code == 1
    assert "found a float32 array, expected uint8" in refused.stderr


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        (["--channels", "gray"], ["[1, 32, 32, 3]", "1 channel (gray)"]),
        (["--preset", "imagenet"], ["-2.118 to 2.64", "expected values from 0 to 1 ", "int8, scale", "--preset raw"]),
        (["--channels", "hsv"], ["--channels", "rgb, bgr, gray or a positive number"]),
        (["--depth", "17"], ["--depth"]),
        (["--depth", "12", "--pixels", "native"], ["depth", "native"]),
    ],
)
def test_bad_options_are_one_line(flags, words, run, tmp_path, images):
    result = run("predict", write_int8(tmp_path / "int8.onnx"), images / "a.png", *flags)
    assert result.exit_code == 2
    assert len(result.stderr.splitlines()) == 1
    for word in words:
        assert word in result.stderr


def test_export_says_what_it_closed(run, models, tmp_path):
    model = onnx.load(models / "conv.onnx")
    for dim, name in zip(
        model.graph.input[0].type.tensor_type.shape.dim[1:], ("num_channels", "height", "width"), strict=True
    ):
        dim.dim_param = name
    onnx.save(model, tmp_path / "open.onnx")
    size = Engine(models / "conv.onnx").spec.input.size_hw
    result = run("instrument", tmp_path / "open.onnx", "-o", tmp_path / "o.onnx", "--size", f"{size[0]}x{size[1]}")
    assert result.exit_code == 0
    assert f"input fixed to [?, 3, {size[0]}, {size[1]}]" in result.stdout
