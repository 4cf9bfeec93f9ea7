"""Outputs that cannot be written: one line, status 2, and what was written before is whole."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from onnxplain.demo import MODEL
from tests.cli.conftest import write_photo

pytestmark = pytest.mark.skipif(not Path("/dev/full").exists(), reason="the system has no /dev/full")

PREDICT = "predict {model} {photo}"
EXPLAIN = "explain {model} {photo} -o {out}"


def start(command: str, paths: dict[str, object], **more) -> subprocess.CompletedProcess[str]:
    words = [word.format(**paths) for word in command.split()]
    shown = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, **more}
    return subprocess.run([sys.executable, "-m", "onnxplain", *words], text=True, check=False, timeout=120, **shown)


@pytest.fixture
def paths(tmp_path: Path) -> dict[str, object]:
    return {"model": MODEL, "photo": write_photo(tmp_path / "photo.png"), "out": tmp_path / "out"}


def require_one_line(done: subprocess.CompletedProcess[str], *words: str) -> None:
    assert done.returncode == 2, done.stderr
    assert len(done.stderr.splitlines()) == 1, done.stderr
    assert done.stderr.startswith("onnxplain: ")
    for word in words:
        assert word in done.stderr


@pytest.mark.parametrize("command", [PREDICT, f"{PREDICT} --json", EXPLAIN, "inspect {model}", "methods", "--help"])
def test_a_full_standard_output(command: str, paths: dict[str, object]) -> None:
    with Path("/dev/full").open("w") as full:
        require_one_line(start(command, paths, stdout=full), "No space left on device")


def test_a_pipe_that_nobody_reads(paths: dict[str, object]) -> None:
    reading, writing = os.pipe()
    os.close(reading)
    with os.fdopen(writing, "w") as pipe:
        done = start(EXPLAIN, paths, stdout=pipe)
    assert (done.returncode, done.stderr) == (2, "")
    (line,) = (Path(str(paths["out"])) / "explanations.jsonl").read_text().splitlines()
    assert json.loads(line)["method"] == "grad-cam"


def test_a_closed_standard_output(paths: dict[str, object]) -> None:
    require_one_line(start(PREDICT, paths, preexec_fn=lambda: os.close(1)), "standard output", "closed")


@pytest.mark.parametrize("closed", [lambda: os.close(2), lambda: os.dup2(os.open("/dev/full", os.O_WRONLY), 2)])
def test_a_failing_standard_error_changes_nothing(closed: Callable[[], object], paths: dict[str, object]) -> None:
    done = start(f"{PREDICT} {{out}}", paths, preexec_fn=closed)
    assert done.returncode == 1
    assert "photo.png" in done.stdout


def test_an_encoding_without_our_signs(paths: dict[str, object]) -> None:
    done = start(PREDICT, paths, env={**os.environ, "PYTHONIOENCODING": "ascii", "PYTHONUTF8": "0"})
    assert (done.returncode, done.stderr) == (0, "")
    assert "photo.png" in done.stdout


def limit_files(size: int) -> Callable[[], None]:
    """The system's limit on the size of a file, which behaves like a full disk."""
    import resource

    return lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (size, size))


@pytest.mark.parametrize(
    ("command", "size"),
    [
        ("evaluate {model} digits --limit 12 -m cam -o {out}", 3_000),
        ("evaluate {model} digits --limit 12 -m cam -o {out} --save-heatmaps {out}/maps", 100_000),
        (EXPLAIN, 1_000),
        ("instrument {model} -o {out}", 10_000),
    ],
)
def test_a_full_disk(command: str, size: int, paths: dict[str, object]) -> None:
    out = Path(str(paths["out"]))
    done = start(command, paths, preexec_fn=limit_files(size))
    require_one_line(done, str(out), "File too large")
    for path in [path for path in out.parent.rglob("*") if path.is_file() and path != paths["photo"]]:
        assert path.suffix in (".jsonl", ".json", ".npy"), path
        if path.suffix == ".npy":
            assert np.load(path).shape == (224, 224)
        else:
            for number, line in enumerate(path.read_text().splitlines() if path.suffix == ".jsonl" else []):
                assert json.loads(line)["index"] == number
    if command.startswith("evaluate"):
        # With room again, the same command ends as if nothing had happened.
        assert start(command, paths).returncode == 0
        whole = {**paths, "out": out.with_name("whole")}
        assert start(command, whole).returncode == 0
        assert (out / "images.jsonl").read_bytes() == (out.with_name("whole") / "images.jsonl").read_bytes()


@pytest.mark.parametrize("command", ["explain", "evaluate"])
def test_a_folder_that_is_deleted(command: str, run, paths: dict[str, object], monkeypatch) -> None:
    from onnxplain import Engine

    out, predict = Path(str(paths["out"])), Engine.predict

    def delete(engine, images):
        shutil.rmtree(out, ignore_errors=True)
        return predict(engine, images)

    monkeypatch.setattr(Engine, "predict", delete)
    more = [paths["photo"]] if command == "explain" else ["digits", "--limit", 2, "-m", "cam"]
    result = run(command, MODEL, *more, "-o", out)
    assert (result.exit_code, len(result.stderr.splitlines())) == (2, 1), result.stderr
    assert str(out) in result.stderr
    assert not out.exists()
