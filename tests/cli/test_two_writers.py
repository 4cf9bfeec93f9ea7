"""Commands that write: a second one is refused in one line, and links at the names of results are not followed."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from onnxplain.files.lock import lock_folder, lock_output
from tests.cli.conftest import write_photo
from tests.training.shapes import write_shapes

pytest.importorskip("fcntl", reason="the system has no such locks")

COMMANDS = {
    # command line, what another process has locked
    "explain {model} {photo} -o {out}": (lock_folder, "out"),
    "batch {model} {photo} -o {out}": (lock_folder, "out"),
    "demo -o {out}": (lock_folder, "out"),
    "evaluate {model} {data} --target predicted -o {out}": (lock_folder, "out"),
    "evaluate {model} {data} --target predicted -o {other} --save-heatmaps {out}": (lock_folder, "out"),
    "instrument {conv} -o {file}": (lock_output, "file"),
    "train {data} -o {file} --epochs 1 --size 16x16": (lock_output, "file"),
}


@pytest.fixture
def paths(models: Path, tmp_path: Path) -> dict[str, Path]:
    named = {name: tmp_path / name for name in ("out", "other", "file")}
    photo = write_photo(tmp_path / "photo.png")
    data = write_shapes(tmp_path / "data", 6)
    return {"model": models / "explainable.onnx", "conv": models / "conv.onnx", "photo": photo, "data": data, **named}


@pytest.mark.parametrize("command", COMMANDS)
def test_a_second_writer_is_refused_in_one_line(command: str, paths: dict[str, Path], run) -> None:
    lock, name = COMMANDS[command]
    if command.startswith("batch"):
        pytest.importorskip("pyarrow", reason="needs the extra batch")
    if command.startswith("train"):
        pytest.importorskip("torch", reason="needs the train extra")
    with lock(paths[name]):
        before = {path: path.read_bytes() for path in paths["out"].parent.rglob("*") if path.is_file()}
        result = run(*(word.format(**paths) for word in command.split()))
        after = {path: path.read_bytes() for path in paths["out"].parent.rglob("*") if path.is_file()}
    assert result.exit_code == 2
    assert "another onnxplain is writing there" in result.stderr
    assert len(result.stderr.splitlines()) == 1
    changed = {path for path in before.keys() | after.keys() if before.get(path) != after.get(path)}
    assert {path for path in changed if paths["other"] not in path.parents} == set()


def test_links_at_the_names_of_results_are_replaced(paths: dict[str, Path], run) -> None:
    mine, out = paths["out"].parent / "mine", paths["out"]
    mine.write_text("mine")
    out.mkdir()
    names = ("explanations.jsonl", "photo.grad-cam.png", "photo.grad-cam.npy")
    for name in names:
        (out / name).symlink_to(mine)
    assert run("explain", paths["model"], paths["photo"], "-o", out).exit_code == 0
    assert mine.read_text() == "mine"
    assert not any((out / name).is_symlink() for name in names)
    assert json.loads((out / "explanations.jsonl").read_text())["overlay"] == "photo.grad-cam.png"


def test_a_link_at_the_results_of_an_evaluation_is_refused(paths: dict[str, Path], run) -> None:
    """They grow from run to run, so what is behind the link would be read and changed."""
    mine, out = paths["out"].parent / "mine", paths["out"]
    mine.write_text("")
    out.mkdir()
    words = ["evaluate", paths["model"], paths["data"], "--target", "predicted", "-o", out]
    (out / "images.jsonl").symlink_to(mine)
    result = run(*words)
    assert (result.exit_code, len(result.stderr.splitlines())) == (2, 1), result.stderr
    assert mine.read_text() == ""
