"""Workers do the same as one process; kills lose nothing, double nothing, and leave no process behind."""

from __future__ import annotations

import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from onnxplain.batch import worker_pool
from onnxplain.batch.job import PartProgress
from onnxplain.batch.run_batch import run_batch
from onnxplain.errors import OnnxplainError
from onnxplain.files.lock import lock_folder
from tests.batch.conftest import write_slow_photos
from tests.batch.reading import part_bytes, rows
from tests.batch.trouble import request, run

pytestmark = pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="looks for processes in /proc")


def children(parent: int) -> set[int]:
    """The processes whose parent it is."""
    found = set()
    for path in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = path.read_text().rpartition(")")[2].split()
        except OSError:
            continue
        if int(fields[1]) == parent and fields[0] != "Z":
            found.add(int(path.parent.name))
    return found


def alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


@pytest.fixture(scope="module")
def slow_photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """24 images, each of which takes 50 ms to read."""
    return write_slow_photos(tmp_path_factory.mktemp("slow"), 24)


@pytest.fixture(scope="module")
def slow_whole(model: Path, slow_photos: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    out = tmp_path_factory.mktemp("whole")
    run(model, slow_photos, out, part_size=4)
    return part_bytes(out)


def test_two_workers_write_the_bytes_of_one_process(model: Path, photos: Path, tmp_path: Path) -> None:
    asked = {"methods": ("grad-cam", "rise"), "masks": 64, "targets": ("one", "zero")}
    one = run(model, photos, tmp_path / "one", **asked)
    two = run(model, photos, tmp_path / "two", workers=2, **asked)
    assert one == two
    assert part_bytes(tmp_path / "one") == part_bytes(tmp_path / "two")
    assert len(rows(tmp_path / "two")) == 60 * 4 + 1
    assert not children(os.getpid())


def test_workers_that_are_killed_at_random_moments(
    model: Path, slow_photos: Path, slow_whole: dict[str, bytes], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    moments, events, kills = random.Random(20).sample(range(4), 2), 0, 0
    handle = worker_pool._Pool._handle

    def kill_some(pool, process, message) -> None:
        nonlocal events, kills
        if isinstance(message, PartProgress):
            if events in moments:
                kills += 1
                os.kill(process.pid, signal.SIGKILL)
            events += 1
        handle(pool, process, message)

    monkeypatch.setattr(worker_pool._Pool, "_handle", kill_some)
    run(model, slow_photos, tmp_path, workers=2, part_size=4)
    assert kills == 2
    assert part_bytes(tmp_path) == slow_whole
    assert not children(os.getpid())


def test_a_driver_that_is_killed_leaves_no_worker_no_lock_and_whole_parts(
    model: Path, slow_photos: Path, slow_whole: dict[str, bytes], tmp_path: Path
) -> None:
    rng = random.Random(21)
    driver = subprocess.Popen(
        [sys.executable, "-m", "tests.batch.trouble", str(model), str(slow_photos), str(tmp_path), "2"],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
    )
    deadline = time.monotonic() + 60
    while len(workers := children(driver.pid)) < 2 and time.monotonic() < deadline:
        time.sleep(0.02)
    while not list(tmp_path.glob("*.parquet")) and driver.poll() is None and time.monotonic() < deadline:
        time.sleep(0.02)
    time.sleep(rng.uniform(0, 0.1))
    assert driver.poll() is None
    driver.kill()
    driver.wait()
    assert len(workers) == 2
    with lock_folder(tmp_path):
        killed = time.monotonic()
        while any(map(alive, workers)) and time.monotonic() < killed + 10:
            time.sleep(0.01)
        assert not any(map(alive, workers))
    found = part_bytes(tmp_path)
    assert found
    counts = run(model, slow_photos, tmp_path, part_size=4)
    assert counts.images == 24
    images = [row["image"] for row in rows(tmp_path)]
    assert images == sorted(path.as_posix() for path in slow_photos.iterdir())
    assert {name: part_bytes(tmp_path)[name] for name in found} == found
    assert part_bytes(tmp_path) == slow_whole


def test_an_image_that_kills_its_worker_becomes_an_error_row(model: Path, photos: Path, tmp_path: Path) -> None:
    source = tmp_path / "source"
    shutil.copytree(photos / "second", source)
    shutil.copy(source / "02.png", source / "kill.png")
    counts = run(model, source, tmp_path / "out", workers=1, part_size=32)
    assert (counts.images, counts.failed) == (21, 1)
    (failed,) = [row for row in rows(tmp_path / "out") if row["error"] is not None]
    assert failed["image"].endswith("/kill.png")
    assert "the process died each time" in failed["error"]


def test_workers_that_cannot_begin_are_one_line(
    model: Path, photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(worker_pool, "_START", "raise SystemExit(3)")
    with pytest.raises(OnnxplainError, match="found 3 that died while they opened the model"):
        run(model, photos, tmp_path, workers=2)
    assert not children(os.getpid())


def test_what_stops_one_process_stops_workers(model: Path, tmp_path: Path) -> None:
    source = tmp_path / "source"
    source.mkdir()
    (source / "bad.png").write_bytes(b"nothing")
    with pytest.raises(OnnxplainError, match="found 1 image in the first part and none"):
        run(model, source, tmp_path / "out", workers=1)
    assert not children(os.getpid())


def test_a_model_that_changes_while_workers_start_is_refused(model: Path, photos: Path, tmp_path: Path) -> None:
    mine = Path(shutil.copy(model, tmp_path / "mine.onnx"))
    asked = request(mine, photos, tmp_path / "out", workers=1)
    real = worker_pool._Process.say

    def change_and_say(process, message) -> None:
        mine.write_bytes(model.read_bytes() + b"\x32\x00")
        real(process, message)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(worker_pool._Process, "say", change_and_say)
        with pytest.raises(OnnxplainError, match=r"found SHA-256|internal error|cannot be loaded"):
            run_batch(asked, lambda moment: None)
    assert json.loads((tmp_path / "out" / "run.json").read_text())["ended"] is None
