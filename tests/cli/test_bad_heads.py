"""What does not fit a model's heads, on every command that takes it: one line, status 2, nothing written."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnx
import pytest
from PIL import Image

from onnxplain.exporters import instrument
from tests.exporters.heads.graph_ends import end_model

ROUND = "a = Gemm(means, one) r = Round(a)"
TABLE = {"image": "float[N, 3, 32, 32] image, float[N, 6] tabular"}
ENDS = {
    "labels": ("p = Sigmoid(y)", "float[N, 6] p", {}),
    "two": ("p = MatMul(means, one)", "float[N, 6] y, float[N, 1] p", {}),
    "box": ("p = MatMul(means, four)", "float[N, 6] y, float[N, 4] p", {}),
    "embedding": ("p = LpNormalization<axis = 1, p = 2>(y)", "float[N, 6] p", {}),
    "mask": ("p = Softmax<axis = 1>(m)", "float[N, 5, 32, 32] p", {"decoder": True}),
    "rounded": (ROUND, "float[N, 6] y, float[N, 1] r", {}),
    "rounded.alone": (ROUND, "float[N, 1] r", {}),
    "unrelated": ("c = GlobalMaxPool(image) r = Flatten(c)", "float[N, 6] y, float[N, 3] r", {}),
    "tabular": ("p = Add(y, tabular)", "float[N, 6] p", TABLE),
    "means": ("", "float[N, 8] means", {}),
}
WRITTEN = {"labels.x": {}, "two.x": {}, "embedding.x": {}, "mask.x": {}, "tabular.x": {"inputs": {"tabular": 1.0}}}
COMMANDS = {
    "predict": "MODEL photo.png -o out",
    "inspect": "MODEL",
    "explain": "MODEL photo.png -o out -m grad-cam",
    "evaluate": "MODEL data/labels.csv -o out -m grad-cam",
    "batch": "MODEL data -o out -m grad-cam",
    "compare": "MODEL MODEL photo.png -m grad-cam",
    "report": "MODEL photo.png -o out.html -m grad-cam",
    "instrument": "MODEL -o out.onnx",
}
EXTRAS = {"batch": "pyarrow", "report": "jinja2"}
ALL = tuple(COMMANDS)
OF_TARGETS = ("explain", "batch", "compare", "report")
WITH_GRADIENTS = ("explain", "evaluate", "batch", "report", "instrument")


@dataclass(frozen=True)
class Fault:
    """Files, options and what is said of them, by each of these commands."""

    files: str
    options: str
    said: str
    commands: Sequence[str] = ("explain",)


FAULTS = [
    Fault("box", "", "it may be box or classes: state --head p:box", ALL),
    Fault("tabular", "", "found no value for input tabular float32 [N, 6]", ALL),
    Fault("tabular tabular.x", "--input tabular=1,2", "expected a value of that shape", ALL),
    Fault("tabular tabular.x", "--input tabular=row.npy", "expected a value of that shape", ("predict", "explain")),
    Fault("tabular tabular.x", "--input tabular=text.npy", "expected a value of that type", ("predict", "explain")),
    Fault("tabular.x", "--input other=1", "found no input other", ALL),
    Fault("labels labels.x", "--labels five.txt", "labels: found 5, but the head p has 6 labels", ALL),
    Fault("two two.x", "--labels five.txt", "labels: found 5, but the model has 6 classes", ALL),
    Fault("two two.x", "--labels z=five.txt", "labels: found no head z, expected one of y, p", ALL),
    Fault("two.x", "--labels empty.txt", "empty.txt: found no label", ALL),
    Fault("two two.x", "--target p:y", "target: found 'y' of head p", OF_TARGETS),
    Fault("two.x", "--target y:9", "target: found '9' of head y", OF_TARGETS),
    Fault("two.x", "--target z:1", "HEAD:LABEL with one of the heads y, p", OF_TARGETS),
    Fault("two.x", "--target box:0", "the model has no box head", OF_TARGETS),
    Fault("two.x", "--target 1@3,4", "expected a target without @: the model has no mask", OF_TARGETS),
    Fault("labels labels.x", "--target 1 --like other.png", "like: found it for an entry of the head p (labels)"),
    Fault("labels.x", "--target 1 --region 1,1,9,9", "region: found it for an entry of the head p (labels)"),
    Fault("embedding embedding.x", "", "`onnxplain explain --like IMAGE`", ("explain", "batch", "report")),
    Fault("embedding embedding.x", "--like notes.txt", "like: notes.txt: found no image"),
    Fault("embedding.x", "--like many.npy", "like: image: found an array of shape (20, 20, 12)"),
    Fault("embedding.x", "--like data", "like: data: found a folder"),
    Fault("embedding.x", "--like none.png", "like: none.png: found no such file"),
    Fault("embedding.x", "--target 3 --like other.png", "target: found 3, expected an index from 0 to 0"),
    Fault("mask mask.x", "--target 1 --region 100,100,200,200", "region: found 100,100,200,200 for an image of 60x40"),
    Fault("mask.x", "--target 1 --region=-9,-9,-1,-1", "region: found -9,-9,-1,-1 for an image of 60x40"),
    Fault("mask.x", "--target 1 --region 5,5,5,9", "expected x1, y1, x2, y2 in pixels, x1 < x2, y1 < y2"),
    Fault("mask.x", "--target 1 --region nan,1,2,3", "expected x1, y1, x2, y2 in pixels, x1 < x2, y1 < y2"),
    Fault("means", "--head means:embedding --preset raw --like black.png", "reference: found a vector of zeros"),
    Fault("rounded", "", "the head 'r': its gradient is zero at layer 'maps' for every image", WITH_GRADIENTS),
    Fault("rounded.alone", "", "with respect to layer 'maps' is identically zero", WITH_GRADIENTS),
    Fault("unrelated", "", "no feature map of the image leads to the heads r: leave them out", WITH_GRADIENTS),
]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A file NAME.onnx for each row, NAME.x.onnx explainable, photos, and files that are no image or fit no head."""
    path = tmp_path_factory.mktemp("bad")
    for name, (nodes, outputs, more) in ENDS.items():
        onnx.save(end_model(nodes, outputs, **more), path / f"{name}.onnx")
    for name, options in WRITTEN.items():
        instrument(path / f"{name.removesuffix('.x')}.onnx", path / f"{name}.onnx", **options)
    rng = np.random.default_rng(0)
    for name in ("photo", "other"):
        Image.fromarray(rng.integers(0, 256, (40, 60, 3), np.uint8)).save(path / f"{name}.png")
    Image.new("RGB", (40, 40)).save(path / "black.png")
    np.save(path / "many.npy", np.zeros((20, 20, 12), np.uint8))
    np.save(path / "row.npy", np.zeros((1, 5), np.float32))
    np.save(path / "text.npy", np.array(["a"] * 6))
    for name, text in {"notes.txt": "x", "five.txt": "a\nb\nc\nd\ne", "empty.txt": ""}.items():
        (path / name).write_text(text)
    (path / "data").mkdir()
    shutil.copy(path / "photo.png", path / "data" / "0.png")
    (path / "data" / "labels.csv").write_text("file,label\n0.png,1\n")
    return path


@pytest.mark.parametrize("fault", FAULTS, ids=[f"{fault.files} {fault.options}" for fault in FAULTS])
def test_what_does_not_fit_is_one_line_and_writes_nothing(fault, run, folder, monkeypatch):
    monkeypatch.chdir(folder)
    before = set(folder.iterdir())
    for command in fault.commands:
        if command in EXTRAS:
            pytest.importorskip(EXTRAS[command])
        for file in fault.files.split():
            line = f"{command} {COMMANDS[command]} {fault.options}".replace("MODEL", f"{file}.onnx")
            result = run(*line.split())
            *notes, last = result.stderr.splitlines()
            assert (result.exit_code, result.stdout) == (2, ""), line
            assert fault.said in last, line
            # Notes come before: what is assumed, and that a plain file was instrumented.
            assert all("warning: parts of the preprocessing" in note or ": instrumented" in note for note in notes), (
                line
            )
            assert set(folder.iterdir()) == before, line
