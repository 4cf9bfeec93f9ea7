"""Files that are written whole or not at all: what a reader, a link, an old file and a full disk see."""

from __future__ import annotations

import io
import os
import stat
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from onnxplain.errors import OnnxplainError
from onnxplain.files.atomic import open_anew, open_beside, replacing, write_atomically
from onnxplain.files.json_bytes import json_bytes
from onnxplain.files.line_file import LineFile


def write_stream(path: Path, data: bytes) -> None:
    with replacing(path) as stream:
        stream.write(data)


def write_anew(path: Path, data: bytes) -> None:
    lines = LineFile(open_anew(path))
    lines.add(data)
    lines.close()


WRITERS: list[Callable[[Path, bytes], None]] = [write_atomically, write_stream, write_anew]
writers = pytest.mark.parametrize("write", WRITERS, ids=lambda write: write.__name__)


@writers
def test_content_replaces_an_old_file_and_nothing_else_is_left(write, tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"older and longer")
    write(path, b"new\n")
    assert [(each.name, each.read_bytes()) for each in tmp_path.iterdir()] == [("file", b"new\n")]


@writers
def test_a_link_is_replaced_not_followed(write, tmp_path: Path) -> None:
    mine = tmp_path / "mine"
    mine.write_bytes(b"mine")
    path = tmp_path / "folder" / "file"
    path.parent.mkdir()
    path.symlink_to(mine)
    write(path, b"new\n")
    assert (mine.read_bytes(), path.read_bytes(), path.is_symlink()) == (b"mine", b"new\n", False)


@writers
@pytest.mark.parametrize("mask", [0o022, 0o077, 0o002])
def test_the_umask_is_respected(write, mask: int, tmp_path: Path) -> None:
    before = os.umask(mask)
    try:
        write(tmp_path / "file", b"new\n")
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / "file").stat().st_mode) == 0o666 & ~mask


def test_temporary_names_are_of_their_own(tmp_path: Path) -> None:
    names = set()
    for _ in range(20):
        temporary, stream = open_beside(tmp_path / "file")
        stream.close()
        names.add(temporary.name)
    assert len(names) == 20


def test_a_link_at_a_temporary_name_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "mine").write_bytes(b"mine")
    (tmp_path / ".onnxplain-guessed.part").symlink_to(tmp_path / "mine")
    monkeypatch.setattr("secrets.token_hex", lambda _: "guessed")
    with pytest.raises(OnnxplainError, match="cannot be written"):
        write_atomically(tmp_path / "file", b"new")
    assert (tmp_path / "mine").read_bytes() == b"mine"


@pytest.mark.parametrize("failure", [KeyboardInterrupt, OSError, ValueError])
def test_a_failure_keeps_the_old_file(failure: type[BaseException], tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"old")
    with pytest.raises(failure), replacing(path) as stream:
        stream.write(b"half")
        raise failure
    assert [(each.name, each.read_bytes()) for each in tmp_path.iterdir()] == [("file", b"old")]


def test_content_is_on_the_disk_before_the_rename(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    steps = []
    fsync, rename = os.fsync, Path.replace
    monkeypatch.setattr(os, "fsync", lambda number: (steps.append(os.fstat(number).st_size), fsync(number)))
    monkeypatch.setattr(Path, "replace", lambda self, target: (steps.append("rename"), rename(self, target))[1])
    write_atomically(tmp_path / "file", b"12345")
    assert steps == [5, "rename"]


def test_a_full_disk_keeps_old_files_and_whole_lines(tmp_path: Path) -> None:
    """The system's limit on the size of a file behaves like a full disk: a write is cut, the next one fails."""
    pytest.importorskip("resource", reason="the system has no such limit")
    code = """
import resource, sys
from pathlib import Path
from onnxplain.files.atomic import open_anew, write_atomically
from onnxplain.files.line_file import LineFile
resource.setrlimit(resource.RLIMIT_FSIZE, (100, 100))
folder = Path(sys.argv[1])
lines = LineFile(open_anew(folder / "lines"))
failures = 0
for number in range(20):
    try:
        lines.add(b"%09d\\n" % number * (2 if number == 9 else 1))
    except OSError:
        failures += 1
lines.close()
try:
    write_atomically(folder / "old", bytes(200))
except Exception as error:
    print(failures, type(error).__name__)
"""
    (tmp_path / "old").write_bytes(b"old")
    done = subprocess.run([sys.executable, "-c", code, tmp_path], capture_output=True, text=True, check=True)
    assert done.stdout == "10 OnnxplainError\n"
    assert {path.name for path in tmp_path.iterdir()} == {"lines", "old"}
    assert (tmp_path / "old").read_bytes() == b"old"
    # Line 9 is twice as long and did not fit; line 10 did.
    kept = (*range(9), 10)
    assert (tmp_path / "lines").read_bytes() == b"".join(b"%09d\n" % number for number in kept)


class Interrupted(io.FileIO):
    """Ctrl-C in the middle of a line."""

    def write(self, data) -> int:
        if data[:1] == b"b":
            super().write(data[:3])
            raise KeyboardInterrupt
        return super().write(data)


def test_an_interrupted_line_is_cut_off(tmp_path: Path) -> None:
    lines = LineFile(Interrupted(tmp_path / "lines", "wb"))
    lines.add(b"aaaaaa\n")
    with pytest.raises(KeyboardInterrupt):
        lines.add(b"bbbbbb\n")
    lines.add(b"cccccc\n")
    lines.close()
    assert (tmp_path / "lines").read_bytes() == b"aaaaaa\ncccccc\n"


@pytest.mark.parametrize("name", [b"plain", "ümlaut".encode(), b"caf\xe9", b"\xff\xfe", b"esc\x1b[31m"])
def test_names_of_any_bytes_come_back_from_json(name: bytes) -> None:
    import json

    written = json_bytes({"image": os.fsdecode(name)})
    assert os.fsencode(json.loads(written)["image"]) == name
    assert written.decode().endswith("\n")
