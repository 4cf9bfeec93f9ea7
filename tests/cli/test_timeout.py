"""--timeout: every command that runs a model ends, with one line, and writes nothing."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.cli.conftest import RunCommand, write_convolutional, write_photo
from tests.machine.test_time_limit import make_endless

REST = {
    "explain": ["PHOTO", "-o", "OUT"],
    "predict": ["PHOTO"],
    "evaluate": ["FOLDERS", "-o", "OUT"],
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
    assert "found a run of over 0.2 s" in result.stderr
    assert len(result.stderr.splitlines()) == 1
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
