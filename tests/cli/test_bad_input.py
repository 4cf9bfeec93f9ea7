"""What users get wrong: one line on standard error that says what to do, the right exit status, no traceback."""

from __future__ import annotations

import json
import os
from pathlib import Path

import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from onnxplain.exporters import instrument
from tests.cli.conftest import write_photo
from tests.models import WEIGHTS

WRONG_USAGE, BAD_IMAGE = 2, 1


@pytest.fixture
def files(models: Path, tmp_path: Path) -> dict[str, Path]:
    """Every good and bad file of the table below, by name; `out` is a folder that does not exist."""
    whole = (models / "explainable.onnx").read_bytes()
    photo = write_photo(tmp_path / "photo.jpg", (200, 300))
    contents = {
        "truncated_model": ("truncated.onnx", whole[: len(whole) // 2]),
        "text_model": ("text.onnx", b"this is not a model"),
        "empty_model": ("empty.onnx", b""),
        "empty_image": ("empty.png", b""),
        "truncated_image": ("truncated.jpg", photo.read_bytes()[:700]),
        "no_image": ("text.jpg", b"this is not an image"),
        "labels": ("labels.txt", b"ant\nbee\n"),
        "no_tail": ("taken.tail.onnx", b"something else"),
    }
    paths = {
        "model": models / "explainable.onnx",
        "plain": models / "plain.onnx",
        "conv": models / "conv.onnx",
        "photo": photo,
        "missing": tmp_path / "missing.onnx",
        "missing_image": tmp_path / "missing.png",
        "folder": tmp_path / "folder",
        "out": tmp_path / "out",
        "no_weights": _write_external(tmp_path / "no_weights.onnx", "weights.bin"),
        "outside": _write_external(tmp_path / "outside.onnx", "../outside.bin"),
        "no_classes": _write_without_classes(tmp_path / "no_classes.onnx"),
        "tail_lost": _write_without_its_tail(models / "conv.onnx", tmp_path / "lost.onnx"),
        "taken": tmp_path / "taken.onnx",
    }
    paths["folder"].mkdir()
    (tmp_path.parent / "outside.bin").write_bytes(WEIGHTS.tobytes())
    for key, (name, content) in contents.items():
        paths[key] = tmp_path / name
        paths[key].write_bytes(content)
    return paths


def _write_external(path: Path, location: str) -> Path:
    """A classifier whose weights lie in another file."""
    tensor = numpy_helper.from_array(WEIGHTS, "weights")
    tensor.ClearField("raw_data")
    tensor.data_location = TensorProto.EXTERNAL
    tensor.external_data.add(key="location", value=location)
    info = helper.make_tensor_value_info
    graph = helper.make_graph(
        [
            helper.make_node("GlobalAveragePool", ["image"], ["pooled"]),
            helper.make_node("Flatten", ["pooled"], ["means"]),
            helper.make_node("Gemm", ["means", "weights"], ["logits"], transB=1),
        ],
        "external",
        [info("image", TensorProto.FLOAT, ["N", 3, 8, 8])],
        [info("logits", TensorProto.FLOAT, ["N", 5])],
        [tensor],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10)
    path.write_bytes(model.SerializeToString())
    return path


def _write_without_its_tail(source: Path, path: Path) -> Path:
    instrument(source, path)
    path.with_name("lost.tail.onnx").unlink()
    return path


def _write_without_classes(path: Path) -> Path:
    """An image in, an image out."""
    info = helper.make_tensor_value_info
    graph = helper.make_graph(
        [helper.make_node("Relu", ["image"], ["picture"])],
        "filter",
        [info("image", TensorProto.FLOAT, ["N", 3, 8, 8])],
        [info("picture", TensorProto.FLOAT, ["N", 3, 8, 8])],
    )
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10), path)
    return path


CASES = [
    # command line, exit status, words of the line
    ("nonsense", WRONG_USAGE, ["No such command", "nonsense", "onnxplain --help"]),
    ("explain", WRONG_USAGE, ["Missing argument", "MODEL.onnx", "explain --help"]),
    ("predict {model}", WRONG_USAGE, ["Missing argument", "IMAGE"]),
    ("predict {model} {photo} --nonsense", WRONG_USAGE, ["No such option", "predict --help"]),
    # models
    ("predict {missing} {photo}", WRONG_USAGE, ["missing.onnx", "no such file", "expected an ONNX model"]),
    ("inspect {folder}", WRONG_USAGE, ["a folder", "expected an ONNX file"]),
    ("inspect {empty_model}", WRONG_USAGE, ["empty file", "0 bytes"]),
    ("explain {truncated_model} {photo} -o {out}", WRONG_USAGE, ["expected a complete ONNX model", "truncated"]),
    ("explain {text_model} {photo} -o {out}", WRONG_USAGE, ["expected a complete ONNX model", "this is"]),
    ("predict {no_weights} {photo}", WRONG_USAGE, ["external", "folder"]),
    ("predict {outside} {photo}", WRONG_USAGE, ["external", "folder"]),
    ("inspect {no_classes}", WRONG_USAGE, ["picture", "expected an answer whose kind is known", "--head"]),
    ("instrument {missing} -o {out}", WRONG_USAGE, ["no such file", "expected an ONNX model"]),
    ("instrument {truncated_model} -o {out}", WRONG_USAGE, ["found no complete ONNX model"]),
    ("instrument {text_model} -o {out}", WRONG_USAGE, ["ONNX"]),
    ("instrument {no_weights} -o {out}", WRONG_USAGE, ["weights.bin"]),
    ("instrument {outside} -o {out}", WRONG_USAGE, ["outside"]),
    ("instrument {no_classes} -o {out}", WRONG_USAGE, ["picture", "--head picture:mask"]),
    ("instrument {model} -o {out}", WRONG_USAGE, ["no feature map", "rise works on this file"]),
    ("instrument {conv} -o {conv}", WRONG_USAGE, ["found the source file"]),
    ("instrument {conv} -o {out}/a.onnx", WRONG_USAGE, ["folder does not exist"]),
    ("instrument {conv} -o {out} --layer nonsense", WRONG_USAGE, ["nonsense", "map"]),
    ("instrument {conv} -o {out} --labels {labels}", WRONG_USAGE, ["2", "5 classes"]),
    ("instrument {conv} -o {out} --labels {missing}", WRONG_USAGE, ["cannot read the labels"]),
    ("instrument {conv} -o {out} --size 8x8", WRONG_USAGE, ["8x8", "leave"]),
    ("export {missing} -o {out}", WRONG_USAGE, ["missing.onnx", "checkpoint"]),
    ("export {text_model} -o {out}", WRONG_USAGE, ["expected a checkpoint"]),
    ("export no_such_package:factory -o {out} --size 8x8", WRONG_USAGE, ["no_such_package", "package.module:factory"]),
    ("export math:pi -o {out} --size 8x8", WRONG_USAGE, ["math:pi", "torch.nn.Module"]),
    ("export math:pi -o {out}", WRONG_USAGE, ["size", "--size HxW"]),
    ("train imagenet -o {out}", WRONG_USAGE, ["imagenet", "no such file or folder"]),
    # targets, layers, methods, providers
    ("explain {model} {photo} -o {out} --target elephant", WRONG_USAGE, ["elephant", "from 0 to 4", "box:0"]),
    ("explain {model} {photo} -o {out} --target 9", WRONG_USAGE, ["found 9", "from 0 to 4"]),
    ("explain {model} {photo} -o {out} --target two", WRONG_USAGE, ["several classes", "index 2, 3"]),
    ("explain {model} {photo} -o {out} --target box:4", WRONG_USAGE, ["box:4", "box:3"]),
    ("explain {plain} {photo} -o {out} -m rise --target box:0", WRONG_USAGE, ["no box head"]),
    ("explain {model} {photo} -o {out} -m rise --target box:0", WRONG_USAGE, ["rise", "box:0", "grad-cam"]),
    ("explain {model} {photo} -o {out} -m cam --target box:0", WRONG_USAGE, ["cam", "box:0", "grad-cam"]),
    ("explain {model} {photo} -o {out} --layer nonsense", WRONG_USAGE, ["nonsense", "fine, coarse"]),
    ("explain {model} {photo} -o {out} -m grad-kam", WRONG_USAGE, ["grad-kam", "did you mean grad-cam", "rise"]),
    ("explain {plain} {photo} -o {out} -m grad-cam", WRONG_USAGE, ["no feature map", "rise works", "-m rise"]),
    ("explain {plain} {photo} -o {out} --layer map", WRONG_USAGE, ["no feature map"]),
    ("explain {model} {photo} -o {out} --logits x", WRONG_USAGE, ["explainable file", "logits", "original file"]),
    ("explain {model} {photo} -o {out} --masks 3", WRONG_USAGE, ["option masks: found for grad-cam", "(rise)"]),
    ("explain {model} {photo} -o {out} -m rise --layer fine", WRONG_USAGE, ["option layer: found for rise", "cam"]),
    ("evaluate {model} digits -o {out} --masks 3", WRONG_USAGE, ["option masks"]),
    ("explain {model} {photo} -o {out} --provider nonsense", WRONG_USAGE, ["nonsense", "cpu"]),
    ("predict {model} {photo} --provider cuda", WRONG_USAGE, ["cuda", "onnxplain[gpu]"]),
    ("explain {model} {photo} -o {out} --colormap sepia", WRONG_USAGE, ["sepia", "turbo"]),
    (
        "explain {model} {photo} -o {out} -m recipro-cam",
        WRONG_USAGE,
        ["recipro-cam", "tail", "instrument", "score-cam"],
    ),
    ("explain {tail_lost} {photo} -o {out} -m ablation-cam", WRONG_USAGE, ["lost.tail.onnx", "found no tail file"]),
    ("explain {tail_lost} {photo} -o {out} -m score-cam --maps 0", WRONG_USAGE, ["--maps", "0"]),
    ("instrument {conv} -o {taken}", WRONG_USAGE, ["taken.tail.onnx", "is not a tail", "--no-tail"]),
    # numbers out of range
    ("explain {model} {photo} -o {out} --masks 0", WRONG_USAGE, ["--masks", "0"]),
    ("explain {model} {photo} -o {out} --tolerance 0", WRONG_USAGE, ["--tolerance", "0"]),
    ("explain {model} {photo} -o {out} --budget-seconds -1", WRONG_USAGE, ["--budget-seconds", "-1"]),
    ("explain {model} {photo} -o {out} -m rise --estimator best", WRONG_USAGE, ["estimator", "'best'", "paper"]),
    ("explain {model} {photo} -o {out} -m hsic --evaluations 8", WRONG_USAGE, ["evaluations", "8", "at least 9"]),
    ("explain {model} {photo} -o {out} --evaluations 90", WRONG_USAGE, ["evaluations: found for grad-cam", "(rise,"]),
    ("explain {model} {photo} -o {out} -m rise --evaluations 9 --masks 9", WRONG_USAGE, ["one of the two"]),
    ("explain {model} {photo} -o {out} -m shap --players {photo}", WRONG_USAGE, ["players", "label map"]),
    ("explain {model} {photo} -o {out} -m shap --players dots", WRONG_USAGE, ["players", "'dots'", "superpixels"]),
    ("explain {model} {photo} -o {out} -m rise --fill pink", WRONG_USAGE, ["fill", "pink", "blur"]),
    ("explain {model} {photo} -o {out} -m rise --fill 1,2", WRONG_USAGE, ["fill", "(1, 2)", "(r, g, b)"]),
    ("explain {model} {photo} -o {out} -m rise --fill 1,2,x", WRONG_USAGE, ["--fill", "1,2,x", "R,G,B"]),
    (
        "explain {plain} {photo} -o {out} -m rise --explain-output box",
        WRONG_USAGE,
        ["explain_output", "without a box head"],
    ),
    ("explain {model} {photo} -o {out} --threshold 0", WRONG_USAGE, ["--threshold", "0"]),
    ("explain {model} {photo} -o {out} --threshold 1.5", WRONG_USAGE, ["--threshold", "1.5"]),
    ("explain {model} {photo} -o {out} --threshold nan", WRONG_USAGE, ["--threshold", "nan"]),
    ("explain {model} {photo} -o {out} --threshold best", WRONG_USAGE, ["--threshold", "best", "stable"]),
    ("explain {model} {photo} -o {out} --alpha 2", WRONG_USAGE, ["--alpha", "2"]),
    ("predict {model} {photo} --top-k 0", WRONG_USAGE, ["--top-k", "0"]),
    ("predict {plain} {photo} --mean 1,2", WRONG_USAGE, ["mean has 2 values", "3 channels"]),
    ("predict {plain} {photo} --std 0", WRONG_USAGE, ["std", "positive"]),
    ("predict {plain} {photo} --scale 1/0", WRONG_USAGE, ["--scale", "1/255"]),
    ("predict {plain} {photo} --size 224", WRONG_USAGE, ["--size", "224x224"]),
    ("predict {plain} {photo} --size 9x9", WRONG_USAGE, ["9x9", "[N, 3, 8, 8]"]),
    ("predict {plain} {photo} --channels gray", WRONG_USAGE, ["[N, 3, 8, 8]", "gray"]),
    ("predict {plain} {photo} --channels gray --preset caffe", WRONG_USAGE, ["[N, 3, 8, 8]", "gray"]),
    ("predict {plain} {photo} --layout nhwc", WRONG_USAGE, ["nhwc", "channels"]),
    # output folders
    ("explain {model} {photo} -o {photo}", WRONG_USAGE, ["cannot be written", "-o"]),
    ("explain {model} {photo} -o {photo}/below", WRONG_USAGE, ["cannot be written", "-o"]),
    ("demo -o {photo}", WRONG_USAGE, ["cannot be written", "-o"]),
    # images
    ("predict {model} {missing_image}", BAD_IMAGE, ["missing.png", "no such file", "expected an image"]),
    ("predict {model} {empty_image}", BAD_IMAGE, ["empty.png", "0 bytes"]),
    ("predict {model} {truncated_image}", BAD_IMAGE, ["truncated.jpg", "truncated image"]),
    ("predict {model} {no_image}", BAD_IMAGE, ["text.jpg", "no image", "JPEG"]),
    ("predict {model} {folder}", BAD_IMAGE, ["no image in this folder", ".jpg"]),
    ("predict {model} {folder}/*.png", BAD_IMAGE, ["no file that matches", "pattern"]),
    ("predict {model} {photo} --max-megapixels 0.05", BAD_IMAGE, ["300 × 200", "0.05 megapixels", "raise the limit"]),
    ("explain {model} {missing_image} -o {out}", BAD_IMAGE, ["missing.png", "no such file"]),
    ("explain {model} {truncated_image} -o {out} --quiet", BAD_IMAGE, ["truncated.jpg", "truncated image"]),
    ("explain {model} {photo} -o {out} --max-megapixels 0.05", BAD_IMAGE, ["300 × 200", "0.05 megapixels"]),
    ("inspect {plain} --try {no_image}", BAD_IMAGE, ["text.jpg", "no image"]),
]


@pytest.mark.parametrize(("command", "status", "words"), CASES, ids=[case[0] for case in CASES])
def test_one_line_and_exit_status(command, status, words, files, run, monkeypatch):
    if command.startswith("demo"):
        monkeypatch.setattr("onnxplain.cli.demo.MODEL", files["model"])
        monkeypatch.setattr("onnxplain.cli.demo.read_samples", list)
    result = run(*(word.format(**files) for word in command.split()))
    assert result.exit_code == status, result.stderr
    assert result.stdout == ""
    lines = result.stderr.splitlines()
    assert len(lines) == 1, result.stderr
    assert lines[0].startswith("onnxplain: ")
    for word in words:
        assert word in lines[0]
    if status == WRONG_USAGE:
        assert not files["out"].exists()


def test_a_bad_image_does_not_stop_the_rest(files, run):
    out = files["out"]
    sources = [files[key] for key in ("no_image", "photo", "missing_image")]
    result = run("explain", files["model"], *sources, "-o", out)
    assert result.exit_code == BAD_IMAGE
    assert len(result.stderr.splitlines()) == 2
    entries = [json.loads(line) for line in (out / "explanations.jsonl").read_text().splitlines()]
    assert [entry["image"] for entry in entries] == [os.path.relpath(source, out) for source in sources]
    assert ["error" in entry for entry in entries] == [True, False, True]
    assert (out / "photo.grad-cam.png").is_file()


def test_predict_json_reports_bad_images(files, run):
    result = run("predict", files["model"], files["no_image"], files["photo"], "--json")
    assert result.exit_code == BAD_IMAGE
    bad, good = json.loads(result.stdout)
    assert bad["error"] in result.stderr
    assert good["label"]
