"""Which head is explained by default: every command, plain and explainable files, every way to say it."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnx
import pytest
from PIL import Image

from onnxplain.exporters import instrument
from tests.exporters.heads.graph_ends import end_model

OUTPUTS = "float[N, 6] y, float[N, 4] q"
LABELS = {"y": "abcdef", "q": "ghij"}
"""The labels of both heads: a label says which head answered."""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A file of two heads of classes, plain and explainable, labels of both, a photo, and a folder with it."""
    path = tmp_path_factory.mktemp("default")
    onnx.save(end_model("p = MatMul(means, four) q = Softmax(p)", OUTPUTS), path / "plain.onnx")
    instrument(path / "plain.onnx", path / "explainable.onnx")
    for name, labels in LABELS.items():
        (path / f"{name}.txt").write_text("\n".join(labels))
    (path / "data").mkdir()
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (40, 60, 3), np.uint8)).save(path / "data" / "0.png")
    (path / "data" / "labels.csv").write_text("file,label\n0.png,any\n")
    return path


def owner(label: str) -> str:
    """The head that has a label."""
    return next(name for name, labels in LABELS.items() if label in labels)


def first_line(path: Path) -> dict:
    return json.loads(path.read_text().splitlines()[0])


def of_page(path: Path) -> str:
    """The head whose answer the first image of a report shows."""
    text = path.read_text().partition('id="report-data">')[2].partition("</script>")[0]
    return owner(json.loads(text)["images"][0]["label"])


def of_table(path: Path) -> str:
    """The head whose label the first row of a batch has."""
    from pyarrow import parquet

    return owner(parquet.read_table(path)["label"][0].as_py())


@dataclass(frozen=True)
class Command:
    """What is written after the model; ``@`` is the folder, ``^`` the output. `read`: the head that answers, from
    standard output and the output. `logits`: whether the command takes --logits."""

    line: str
    read: Callable[[str, Path], str]
    logits: bool = True


COMMANDS = {
    "predict": Command("@/data/0.png --json", lambda text, _: json.loads(text)[0]["answers"][0]["head"], logits=False),
    "inspect": Command("--json", lambda text, _: json.loads(text)["heads"][0]["name"], logits=False),
    "instrument": Command("-o ^.onnx --json --no-tail", lambda text, _: json.loads(text)["spec"]["heads"][0]["name"]),
    "explain": Command("@/data/0.png -o ^", lambda _, output: first_line(output / "explanations.jsonl")["head"]),
    "evaluate": Command(
        "@/data/labels.csv --target predicted -o ^",
        lambda _, output: owner(first_line(output / "images.jsonl")["predicted"]),
    ),
    "batch": Command(
        "@/data -o ^",
        lambda _, output: of_table(next(output.glob("*.parquet"))),
    ),
    "compare": Command(
        "@/MODEL @/data/0.png --json", lambda text, _: owner(json.loads(text)["images"][0]["first"]["label"])
    ),
    "report": Command("@/data/0.png -o ^.html", lambda _, output: of_page(output.with_suffix(".html"))),
}
EXTRAS = {"batch": "pyarrow", "report": "jinja2"}
"""The package that a command needs besides the usual ones."""
STATED = {
    "": "y",
    "--head q": "q",
    "--head q:classes": "q",
    "--head y:classes --head q": "q",
    "--logits q": "q",
}


@pytest.mark.parametrize("file", ["plain", "explainable"])
@pytest.mark.parametrize("name", COMMANDS)
def test_the_stated_head_is_explained(name, file, run, folder, tmp_path):
    if name in EXTRAS:
        pytest.importorskip(EXTRAS[name])
    command = COMMANDS[name]
    for number, (stated, expected) in enumerate(STATED.items()):
        if "--logits" in stated and not command.logits:
            continue
        output = tmp_path / str(number)
        line = command.line.replace("MODEL", f"{file}.onnx").replace("@", str(folder)).replace("^", str(output))
        labels = [word for head in LABELS for word in ("--labels", f"{head}={folder / head}.txt")]
        result = run(name, folder / f"{file}.onnx", *line.split(), *labels, *stated.split())
        assert result.exit_code == 0, (stated, result.stderr)
        assert command.read(result.stdout, output) == expected, stated


@pytest.mark.parametrize("stated", ["--head z", "--head q:labels", "--logits z", "--head q:none", "--box q"])
@pytest.mark.parametrize("name", ["predict", "explain", "evaluate", "batch", "compare", "report", "inspect"])
def test_what_an_explainable_file_has_not_is_refused(name, stated, run, folder, tmp_path):
    if name in EXTRAS:
        pytest.importorskip(EXTRAS[name])
    command = COMMANDS[name]
    if not command.logits and "--head" not in stated:
        return
    output = tmp_path / "out"
    line = command.line.replace("MODEL", "explainable.onnx").replace("@", str(folder)).replace("^", str(output))
    result = run(name, folder / "explainable.onnx", *line.split(), *stated.split())
    assert result.exit_code == 2
    assert (result.stdout, result.stderr.count("\n")) == ("", 1)
    assert "whose heads are fixed: y (classes), q (classes); expected one of them" in result.stderr
    assert not output.exists()
