"""One writer at a time, for every command that writes; the lock goes with its process."""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path

import pytest

from onnxplain.errors import OnnxplainError
from onnxplain.files.lock import FOLDER_LOCK, is_folder_locked, lock_folder, lock_output

pytest.importorskip("fcntl", reason="the system has no such locks")

_OWNER = """
import sys
from pathlib import Path
from onnxplain.files.lock import lock_folder
with lock_folder(Path(sys.argv[1])):
    print("locked", flush=True)
    sys.stdin.read()
"""
LOCKS = pytest.mark.parametrize("lock", [lock_folder, lock_output])


@LOCKS
def test_a_second_one_is_refused_and_a_later_one_is_not(lock, tmp_path: Path) -> None:
    for _ in range(2):
        with lock(tmp_path / "out"), pytest.raises(OnnxplainError, match="another onnxplain is writing there"):
            lock(tmp_path / "out").__enter__()
    assert [path.name for path in tmp_path.rglob("*") if path.name != "out"] == []


@LOCKS
def test_others_are_not_locked(lock, tmp_path: Path) -> None:
    with lock(tmp_path / "a"), lock(tmp_path / "b"):
        pass


@LOCKS
def test_a_link_at_the_name_of_the_lock_is_refused(lock, tmp_path: Path) -> None:
    mine = tmp_path / "mine"
    mine.write_bytes(b"mine")
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / FOLDER_LOCK).symlink_to(mine)
    (tmp_path / ".out.lock").symlink_to(mine)
    with pytest.raises(OnnxplainError, match="cannot be written"):
        lock(tmp_path / "out").__enter__()
    assert mine.read_bytes() == b"mine"


def test_the_lock_of_a_killed_process_is_free(tmp_path: Path) -> None:
    owner = subprocess.Popen(
        [sys.executable, "-c", _OWNER, tmp_path], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    with owner:
        assert owner.stdout is not None
        assert owner.stdout.readline() == "locked\n"
        with pytest.raises(OnnxplainError, match="another onnxplain"):
            lock_folder(tmp_path).__enter__()
        owner.send_signal(signal.SIGKILL)
        owner.wait()
    with lock_folder(tmp_path):
        pass
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("number", ["ENOSYS", "ENOLCK", "EOPNOTSUPP"])
def test_a_file_system_without_locks_works_without(number: str, tmp_path: Path, monkeypatch) -> None:
    import errno

    def refuse(*_: object) -> None:
        raise OSError(getattr(errno, number), "no locks")

    monkeypatch.setattr("fcntl.flock", refuse)
    with lock_folder(tmp_path):
        assert [path.name for path in tmp_path.iterdir()] == [FOLDER_LOCK]


def test_whether_a_folder_is_locked_is_asked_without_locking_it(tmp_path: Path) -> None:
    assert is_folder_locked(tmp_path) is False
    with lock_folder(tmp_path):
        assert is_folder_locked(tmp_path) is True
        assert is_folder_locked(tmp_path) is True
    assert is_folder_locked(tmp_path) is False
    (tmp_path / FOLDER_LOCK).touch()
    assert is_folder_locked(tmp_path) is False
