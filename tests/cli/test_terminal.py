"""No name from a file can control the terminal: in every command's text it is escaped, in JSON it is itself."""

from __future__ import annotations

import json
import os
import re
import shutil
from pathlib import Path

import onnx
import pytest

from onnxplain.cli.output.progress import progress_bar
from onnxplain.cli.output.terminal import printable
from onnxplain.demo import MODEL
from onnxplain.explanations.explanation_folder import RESULTS_FILE
from onnxplain.files.json_bytes import json_text
from tests.cli.conftest import write_convolutional, write_photo

HOSTILE = "\x1b]0;owned\x07\x1b[31m\x9b2J\u202egnp\u2066[bold][/nothing]"
CONTROLS = re.compile("[\x00-\x09\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff]")

ESCAPES = [
    ("plain, ümlaut, 漢字, 🙂", "plain, ümlaut, 漢字, 🙂"),
    ("\x1b[31m", r"\x1b[31m"),
    ("\x1b]8;;http://x\x07", r"\x1b]8;;http://x\x07"),
    ("a\nb\tc\rd\x00", r"a\nb\tc\rd\x00"),
    ("\x7f\x85\x9b", r"\x7f\x85\x9b"),
    ("\u202eevil\u2069", r"\u202eevil\u2069"),
    ("\u200e\u200f\u061c\u2028", r"\u200e\u200f\u061c\u2028"),
    (os.fsdecode(b"caf\xe9"), r"caf\xe9"),
    ("\ud800", r"\ud800"),
]


@pytest.mark.parametrize(("text", "expected"), ESCAPES)
def test_what_a_terminal_would_obey_is_escaped(text: str, expected: str) -> None:
    assert printable(text) == expected
    assert printable(expected) == expected


@pytest.mark.parametrize("text", [text for text, _ in ESCAPES] + [HOSTILE])
def test_json_says_the_same_without_controls(text: str) -> None:
    written = json_text({"text": text})
    assert json.loads(written) == {"text": text}
    assert not CONTROLS.search(written)


@pytest.fixture(scope="module")
def paths(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """A model whose labels and layers have hostile names, in a folder and beside a photo of that name."""
    folder = tmp_path_factory.mktemp("hostile") / HOSTILE.replace("/", "_")
    folder.mkdir()
    model = onnx.load(MODEL)
    for entry in model.metadata_props:
        tree = json.loads(entry.value)
        tree["labels"] = [f"{label}{HOSTILE}" for label in tree["labels"]]
        entry.value = json.dumps(tree)
    onnx.save(model, folder / "model.onnx")
    plain = onnx.load(write_convolutional(folder / "plain.onnx"))
    for node in plain.graph.node:
        for names in (node.input, node.output):
            for index, name in enumerate(names):
                names[index] = name.replace("convolved", HOSTILE)
    onnx.save(plain, folder / "plain.onnx")
    (folder / "broken.png").write_text("no image")
    rows = ("file,label,xmin,ymin,xmax,ymax", f'photo.png,"{HOSTILE}",1,2,9,9', f"{HOSTILE},a,1,2,3,4")
    (folder / "boxes.csv").write_text("".join(f"{row}\n" for row in rows))
    write_photo(folder / "photo.png")
    return {path.name.partition(".")[0]: path for path in folder.iterdir()} | {"folder": folder}


COMMANDS = [
    ("inspect {model}", 0),
    ("inspect {plain} --layers", 0),
    ("inspect {plain} --try {photo}", 0),
    ("instrument {plain} -o {folder}/written.onnx", 0),
    ("instrument {plain} -o {folder}/written.onnx --layer elsewhere", 2),
    ("instrument {broken} -o {folder}/written.onnx", 2),
    ("predict {model} {photo} {broken} --top-k 3", 1),
    ("explain {model} {photo} {broken} -o {folder}/out -m cam -m grad-cam", 1),
    ("explain {plain} {photo} -o {folder}/plain -m grad-cam", 0),
    ("explain {model} {photo} -o {folder}/out --target nothing", 2),
    ("explain {model} {photo} -o {photo}", 2),
    ("evaluate {model} {boxes} -o {folder}/evaluated --target predicted", 0),
    ("evaluate {model} {boxes} -o {folder}/other", 2),
    ("evaluate {model} {broken} -o {folder}/other", 2),
    ("nothing{folder}", 2),
]


@pytest.mark.parametrize(("command", "status"), COMMANDS)
def test_no_command_prints_a_control(command: str, status: int, paths: dict[str, Path], run) -> None:
    result = run(*(word.format(**paths) for word in command.split(" ")))
    assert result.exit_code == status, result.output
    assert r"\x1b" in result.output
    assert not CONTROLS.search(result.stdout)
    assert not CONTROLS.search(result.stderr)


@pytest.mark.parametrize("command", ["predict {model} {photo} --json", "inspect {model} --json"])
def test_json_on_standard_output(command: str, paths: dict[str, Path], run) -> None:
    result = run(*(word.format(**paths) for word in command.split(" ")))
    assert result.exit_code == 0
    assert not CONTROLS.search(result.stdout)
    tree = json.loads(result.stdout)
    found = tree[0]["label"] if isinstance(tree, list) else tree["labels"][0]
    assert found.endswith(HOSTILE)


def test_labels_stay_in_the_results(paths: dict[str, Path], run, tmp_path: Path) -> None:
    assert run("explain", paths["model"], paths["photo"], "-o", tmp_path).exit_code == 0
    content = (tmp_path / RESULTS_FILE).read_text(encoding="utf-8")
    assert not CONTROLS.search(content)
    assert json.loads(content)["label"].endswith(HOSTILE)


def test_the_bar_takes_names_as_they_are(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """Rich would read [bold] as markup, and raise an error for [/nothing]."""
    monkeypatch.setattr("sys.stderr.isatty", lambda: True)
    monkeypatch.setenv("TERM", "dumb")
    with progress_bar() as bar:
        bar.expect(2)
        bar.say(HOSTILE)
        bar.step()
        bar.echo(HOSTILE, err=True)
    shown = capsys.readouterr().err
    assert "[bold][/nothing]" in shown
    assert "\x9b" not in shown
    assert "\u202e" not in shown


def test_names_of_any_bytes_in_a_folder(run, tmp_path: Path) -> None:
    photo = tmp_path / os.fsdecode(b"caf\xe9.png")
    shutil.copy(write_photo(tmp_path / "a.png"), photo)
    result = run("explain", MODEL, photo, "-o", tmp_path / "out")
    assert (result.exit_code, result.stderr) == (0, "")
    assert r"caf\xe9.png" in result.stdout
    entry = json.loads((tmp_path / "out" / RESULTS_FILE).read_bytes())
    assert os.path.normpath(tmp_path / "out" / entry["image"]) == os.fspath(photo)
    assert (tmp_path / "out" / entry["overlay"]).is_file()
