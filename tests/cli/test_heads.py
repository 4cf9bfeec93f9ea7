"""Models of every kind on the command line: what is printed, written as JSON, and refused in one line."""

from __future__ import annotations

import json

import numpy as np
import onnx
import pytest
from PIL import Image

from onnxplain.contract import PRESETS
from onnxplain.runtime import Engine
from tests.exporters.heads.graph_ends import end_model

P, Y, ONE = "float[N, 6] p", "float[N, 6] y", "float[N, 1] p"
ENDS = {
    "classes": ("", Y),
    "labels": ("p = Sigmoid(y)", P),
    "binary": ("z = MatMul(means, one) p = Sigmoid(z)", ONE),
    "two": ("p = MatMul(means, one)", f"{Y}, {ONE}"),
    "box": ("p = MatMul(means, four)", f"{Y}, float[N, 4] p"),
    "embedding": ("p = LpNormalization<axis = 1, p = 2>(y)", P),
    "mask": ("p = Softmax<axis = 1>(m)", "float[N, 5, 32, 32] p"),
    "argmax": ("k = ArgMax<axis = 1, keepdims = 0>(y)", "int64[N] k"),
    "features": ("", f"float[N, 8] means, {Y}"),
}
IMAGES = {"tabular": ("p = Add(y, tabular)", P, "float[N, 3, 32, 32] image, float[N, 6] tabular")}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A file NAME.onnx for each row, a photo, and labels."""
    path = tmp_path_factory.mktemp("heads")
    for name, (nodes, outputs) in ENDS.items():
        onnx.save(end_model(nodes, outputs, decoder=name == "mask"), path / f"{name}.onnx")
    for name, (nodes, outputs, image) in IMAGES.items():
        onnx.save(end_model(nodes, outputs, image=image), path / f"{name}.onnx")
    pixels = np.random.default_rng(0).integers(0, 256, (40, 60, 3), np.uint8)
    Image.fromarray(pixels).save(path / "photo.png")
    (path / "six.txt").write_text("\n".join("abcdef"))
    (path / "one.txt").write_text("years")
    np.save(path / "row.npy", np.arange(6, dtype=np.float32))
    return path


def words(folder, text):
    """The words of a command line; ``@name`` is a file in the folder."""
    return [part.replace("@", f"{folder}/") for part in text.split()]


# Command line after the file, and per head: name, kind, and what JSON holds of it.
PREDICTED = {
    "classes": ("--top-k 2", [("y", "classes", {"top": 2})]),
    "labels": ("--labels @six.txt --min-score 0", [("p", "labels", {"top": 6, "min_score": 0.0})]),
    "binary": ("--min-score 1", [("p", "labels", {"top": 1, "min_score": 1.0})]),
    "two": ("--head p", [("p", "values", {"values": 1, "unit": None}), ("y", "classes", {"top": 1})]),
    "box": ("--head p:box", [("y", "classes", {"top": 1}), ("p", "box", {"xyxy": 4})]),
    "embedding": ("", [("p", "embedding", {"vector": 6})]),
    "mask": ("", [("p", "mask", {"shares": 5})]),
    "features": ("--head means:embedding", [("y", "classes", {"top": 1}), ("means", "embedding", {"vector": 8})]),
    "tabular": ("--input tabular=1,2,3,4,5,6", [("p", "classes", {"top": 1})]),
}


@pytest.mark.parametrize("name", PREDICTED)
def test_predict_writes_the_answer_of_every_head(name, run, folder):
    options, expected = PREDICTED[name]
    result = run("predict", folder / f"{name}.onnx", folder / "photo.png", "--json", *words(folder, options))
    assert result.exit_code == 0, result.output
    (entry,) = json.loads(result.stdout)
    assert [(answer["head"], answer["kind"]) for answer in entry["answers"]] == [row[:2] for row in expected]
    for answer, (_, _, content) in zip(entry["answers"], expected, strict=True):
        counted = {key: len(value) if isinstance(value, list) else value for key, value in answer.items()}
        assert counted == {"head": answer["head"], "kind": answer["kind"], **content}
    best = entry["answers"][0] if expected[0][1] == "classes" else None
    assert entry["class_id"] == (None if best is None else best["top"][0]["index"])


def test_json_is_unrounded_and_that_of_the_engine(run, folder):
    path, photo = folder / "two.onnx", folder / "photo.png"
    result = run("predict", path, photo, "--json", "--top-k", 6, "--preset", "unit")
    classes, values = json.loads(result.stdout)[0]["answers"]
    (found,) = Engine(path, preprocessing=PRESETS["unit"]).answers(photo)
    assert [each["score"] for each in classes["top"]] == [label.score for label in found[0].top(6)]
    assert values["values"] == [{"index": 0, "label": "0", "value": float(found[1].numbers[0])}]


PRINTED = {
    "labels": ("--labels @six.txt --min-score 0.99", ["(below 0.99)"]),
    "binary": ("", ["p  "]),
    "two": ("--labels y=@six.txt --labels p=@one.txt", ["years", "y  "]),
    "embedding": ("", ["vector of 6 numbers"]),
    "mask": ("--top-k 2", ["%"]),
}


@pytest.mark.parametrize("name", PRINTED)
def test_predict_prints_the_answer_of_every_head(name, run, folder):
    options, said = PRINTED[name]
    result = run("predict", folder / f"{name}.onnx", folder / "photo.png", *words(folder, options))
    assert result.exit_code == 0, result.output
    assert all(text in result.stdout for text in ["head", *said])


INSPECTED = {
    "classes": ("", ["y: classes, 6 classes (logits y), assumed"]),
    "labels": ("", ["p: labels, 6 labels (scores p), told by Sigmoid"]),
    "features": ("", ["means [N, 8]: y is computed from it: features"]),
    "mask": ("", ["p: mask, 5 classes of 32x32 (scores p), told by Softmax"]),
    "two": ("--head p:labels", ["p: labels, 1 labels (logits p), stated"]),
    "tabular": ("--input tabular=2", ["tabular, float32: 2, 2, 2, 2 …"]),
}


@pytest.mark.parametrize("name", INSPECTED)
def test_inspect_says_how_each_head_was_told(name, run, folder):
    options, said = INSPECTED[name]
    result = run("inspect", folder / f"{name}.onnx", *words(folder, options))
    assert result.exit_code == 0, result.output
    assert all(text in result.stdout for text in said)


NO_NAMES = "none in the file: {} are shown by index; give their names with --labels FILE"
# Options, and what is said of labels; "": nothing.
UNLABELLED = {
    "classes": ("", NO_NAMES.format("classes")),
    "labels": ("", NO_NAMES.format("labels")),
    "mask": ("", NO_NAMES.format("classes")),
    "two": ("--head p:values --head p", ""),
    "box": ("--head p:box --head p", ""),
    "embedding": ("", ""),
}


@pytest.mark.parametrize("name", UNLABELLED)
def test_missing_labels_are_said_only_where_there_could_be_some(name, run, folder):
    options, said = UNLABELLED[name]
    result = run("inspect", folder / f"{name}.onnx", *words(folder, options))
    assert result.exit_code == 0, result.output
    assert said in result.stdout
    assert ("none in the file" in result.stdout) == bool(said)


def test_inspect_writes_heads_and_other_outputs_as_json(run, folder):
    tree = json.loads(run("inspect", folder / "features.onnx", "--json").stdout)
    assert [(head["name"], head["kind"], head["evidence"]["kind"]) for head in tree["heads"]] == [
        ("y", "classes", "assumed")
    ]
    (unused,) = tree["unused_outputs"]
    assert (unused["name"], unused["shape"], unused["fault"]) == ("means", ["N", 8], "LEADS")


REFUSED = [
    ("predict @argmax.onnx @photo.png", ["only what ArgMax picks", "instrument the file first"]),
    ("predict @box.onnx @photo.png", ["it may be box or classes", "--head p:box"]),
    ("predict @two.onnx @photo.png --head y:fish", ["--head y:fish: found no such output", "classes, labels, values"]),
    ("predict @two.onnx @photo.png --head q", ["--head q: found no such output, expected one of y, p"]),
    ("predict @two.onnx @photo.png --head y:labels --head y:classes", ["each name once"]),
    ("predict @two.onnx @photo.png --head y:mask", ["stated as mask, which needs another shape"]),
    ("predict @two.onnx @photo.png --labels q=@six.txt", ["labels: found no head q, expected one of y, p"]),
    ("predict @two.onnx @photo.png --labels p=@six.txt", ["found 6, but the head p has 1 values"]),
    ("predict @two.onnx @photo.png --labels @six.txt --labels @six.txt", ["expected one FILE, or HEAD=FILE"]),
    ("predict @two.onnx @photo.png --input k=3", ["found no input k"]),
    ("predict @two.onnx @photo.png --input k", ["expected NAME=VALUE or NAME=FILE.npy"]),
    ("predict @two.onnx @photo.png --input k=dog", ["found 'dog', expected a number"]),
    ("predict @two.onnx @photo.png --input k=@gone.npy", ["gone.npy, which cannot be read"]),
    ("predict @tabular.onnx @photo.png", ["found no value for input tabular float32 [N, 6]"]),
    ("predict @tabular.onnx @photo.png --input tabular=1,2", ["expected a value of that shape"]),
    ("explain @two.onnx @photo.png -m rise --target y", ["a head of 6 entries, expected one of them"]),
    ("explain @two.onnx @photo.png -m rise --target z:1", ["found 'z:1', expected a class index from 0 to 5"]),
    ("inspect @embedding.onnx --try @photo.png", ["expected one with scores of classes"]),
]


@pytest.mark.parametrize(("line", "said"), REFUSED, ids=[line for line, _ in REFUSED])
def test_bad_input_is_one_line(line, said, run, folder):
    result = run(*words(folder, line))
    assert result.exit_code == 2, result.output
    assert result.stdout == ""
    assert result.stderr.count("\n") == 1
    assert all(text in result.stderr for text in said), result.stderr


def test_a_file_is_the_value_of_an_input(run, folder):
    one, other = (
        json.loads(run("predict", folder / "tabular.onnx", folder / "photo.png", "--json", "--input", value).stdout)
        for value in (f"tabular={folder}/row.npy", "tabular=0,1,2,3,4,5")
    )
    assert one == other


@pytest.mark.parametrize("name", ["labels", "two", "mask"])
def test_answers_are_drawn(run, folder, tmp_path, name):
    photo = tmp_path / "grey.png"
    Image.new("RGB", (640, 480), (90, 90, 90)).save(photo)
    assert run("predict", folder / f"{name}.onnx", photo, "-o", tmp_path / "out").exit_code == 0
    with Image.open(tmp_path / "out" / "grey.boxes.png") as picture:
        changed = (np.asarray(picture) != 90).any(axis=2)
    assert changed[:40, :60].any()  # the words stand in the corner
    assert not changed[60:].any()
