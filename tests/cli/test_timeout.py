"""--timeout: every command that runs a model ends, with one line, and writes nothing."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import onnx
import pytest

from onnxplain.machine import time_limit
from tests.cli.conftest import RunCommand, write_convolutional, write_photo
from tests.machine.test_time_limit import make_endless

REST = {
    "explain": ["PHOTO", "-m", "rise", "-o", "OUT"],
    "predict": ["PHOTO"],
    "evaluate": ["FOLDERS", "-m", "rise", "--target", "predicted", "-o", "OUT"],
    "inspect": ["--try", "PHOTO"],
}


@pytest.mark.parametrize("command", REST)
def test_commands_end(command: str, tmp_path: Path, run: RunCommand) -> None:
    path = make_endless(write_convolutional(tmp_path / "model.onnx"))
    for name in "abcde":
        (tmp_path / "photos" / name).mkdir(parents=True)
        photo = write_photo(tmp_path / "photos" / name / "photo.png")
    places = {
        "PHOTO": photo,
        "FOLDERS": tmp_path / "photos",
        "OUT": tmp_path / "out",
    }
    result = run(command, path, *(places.get(word, word) for word in REST[command]), "--timeout", "0.2")
    assert result.exit_code == 2
    *warnings, error = result.stderr.splitlines()
    assert "found a run of over 0.2 s" in error
    assert all(line.startswith("onnxplain: warning: ") for line in warnings)
    assert not (tmp_path / "out").exists()


def test_the_debug_variable_prints_the_traceback(
    tmp_path: Path, run: RunCommand, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert run("predict", tmp_path / "none.onnx", tmp_path).stderr.count("\n") == 1
    monkeypatch.setenv("ONNXPLAIN_DEBUG", "1")
    lines = run("predict", tmp_path / "none.onnx", tmp_path).stderr.splitlines()
    assert lines[0] == "Traceback (most recent call last):"
    assert lines[-1].startswith("onnxplain: ")


@pytest.mark.parametrize(
    ("error", "says"),
    [
        (ZeroDivisionError("division by zero"), "internal error (ZeroDivisionError: division by zero): set ONNXPLAIN"),
        (RecursionError("too\ndeep"), "internal error (RecursionError: too deep)"),
        (MemoryError(), "found too little memory"),
        (ValueError("x" * 10**6), "internal error (ValueError: xxx"),
    ],
    ids=lambda value: type(value).__name__,
)
def test_no_error_is_a_traceback(
    error: Exception, says: str, tmp_path: Path, run: RunCommand, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise error

    monkeypatch.setattr("onnxplain.runtime.Engine", fail)
    result = run("predict", tmp_path / "none.onnx", tmp_path, may_fail=True)
    assert result.exit_code == 2
    assert result.stderr.startswith(f"onnxplain: {says}")
    assert len(result.stderr.splitlines()) == 1
    assert len(result.stderr) < 600


# The loop is on the way from the image, with as many turns as the constant says.
LOOP_ON_THE_IMAGE = """
<ir_version: 9, opset_import: ["" : 18]> g (float[N,3,8,8] image) => (float[N,3] logits)
<int64 turns = {1000000000}, bool go = {1}> {
  x = Loop (turns, go, image) <body = b (int64 turn, bool c, float[] v) => (bool d, float[] w) {
    d = Identity (c) w = Relu (v) }>
  g = GlobalAveragePool (x) logits = Flatten (g) }
"""


@pytest.mark.parametrize("place", ["image", "logits"])
def test_explain_runs_an_endless_plain_file_once(
    place: str, tmp_path: Path, run: RunCommand, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without a method too, where the loop has a bound."""
    words: list[str] = []
    if place == "image":
        onnx.save(onnx.parser.parse_model(LOOP_ON_THE_IMAGE), tmp_path / "model.onnx")
    else:
        make_endless(write_convolutional(tmp_path / "model.onnx"))
        words = ["-m", "rise"]
    runs: list[Any] = []

    class Counted(time_limit._Run):
        def __init__(self, options: Any, deadline: float) -> None:
            super().__init__(options, deadline)
            runs.append(self)

    monkeypatch.setattr(time_limit, "_Run", Counted)
    photo = write_photo(tmp_path / "photo.png")
    result = run("explain", tmp_path / "model.onnx", photo, *words, "-o", tmp_path / "out", "--timeout", "0.5")
    assert result.exit_code == 2
    assert "found a run of over 0.5 s" in result.stderr.splitlines()[-1]
    assert sum(each.ended for each in runs) == 1
    assert not (tmp_path / "out").exists()
