"""Kill the driver, the workers and the Ray actors of `onnxplain batch`, and count what is lost, doubled or left."""

from __future__ import annotations

import os
import random
import secrets
import shutil
import signal
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

from onnxplain.demo import IMAGES, MODEL
from tools.commands import finish, kill_after, start

_PROCESSES = Path("/proc")
_MARK = "ONNXPLAIN_KILLS"
_SECONDS_TO_END = 10.0


@dataclass(frozen=True)
class WholeBatch:
    """A batch that nobody killed: its command without -o, its parts, and the seconds it took."""

    words: tuple[object, ...]
    parts: dict[str, bytes]
    seconds: float

    def faults_of(self, out: Path, *, whole: bool) -> int:
        """1 if a part in a folder has other bytes, or if one is missing though the batch ended."""
        found = parts_of(out)
        is_right = found == self.parts if whole else found.items() <= self.parts.items()
        return 0 if is_right else 1


def kill_drivers(folder: Path, times: int, rng: random.Random) -> Counter[str]:
    """A driver is killed again and again, with and without workers; then nothing of it is alive any more."""
    batch = make_whole(folder, masks=256)
    counts: Counter[str] = Counter()
    out = folder / "killed"
    while counts["kills"] < times:
        workers = ["--workers", 2] if rng.random() < 0.5 else []
        with _marked() as mark:
            if kill_after(rng.uniform(0.5, batch.seconds), *batch.words, *workers, "-o", out):
                counts["kills"] += 1
            counts["orphans"] += count_orphans(mark)
        counts["faults"] += batch.faults_of(out, whole=False)
        if len(parts_of(out)) == len(batch.parts):
            counts["ends"] += 1
            shutil.rmtree(out)
    finish(*batch.words, "-o", out)
    counts["faults"] += batch.faults_of(out, whole=True) + counts["orphans"]
    return counts


def kill_workers(folder: Path, times: int, rng: random.Random) -> Counter[str]:
    """Of two workers one is killed at random moments, several times in a run."""

    def workers(driver: int, mark: bytes) -> list[int]:
        return [pid for pid in marked_processes(mark) if parent_of(pid) == driver]

    return _kill_helpers(folder, times, rng, ["--workers", 2], workers)


def kill_actors(folder: Path, times: int, rng: random.Random) -> Counter[str]:
    """The same with two actors of a Ray on this machine."""
    if find_spec("ray") is None:
        return Counter({"without Ray": 1})

    def actors(driver: int, mark: bytes) -> list[int]:
        return [pid for pid in marked_processes(mark) if b"PartActor" in words_of(pid)]

    return _kill_helpers(folder, times, rng, ["--workers", 2, "--address", "local"], actors)


def _kill_helpers(
    folder: Path,
    times: int,
    rng: random.Random,
    options: list[object],
    find: Callable[[int, bytes], list[int]],
) -> Counter[str]:
    batch = make_whole(folder, masks=512)
    counts: Counter[str] = Counter()
    while counts["kills"] < times:
        out = folder / str(counts["ends"])
        with _marked() as mark:
            driver = start(*batch.words, *options, "-o", out)
            there = 0
            while driver.poll() is None:
                time.sleep(rng.uniform(0.1, 3.0))
                helpers = find(driver.pid, mark)
                # One kill per part that was made: an image at which workers die again and again is left out.
                if helpers and counts["kills"] < times and len(parts_of(out)) >= there:
                    with suppress(ProcessLookupError):
                        os.kill(rng.choice(helpers), signal.SIGKILL)
                        counts["kills"] += 1
                        there = len(parts_of(out)) + 1
            errors = driver.communicate()[1]
            counts["orphans"] += count_orphans(mark)
        counts["ends"] += 1
        fault = driver.returncode != 0 or batch.faults_of(out, whole=True)
        counts["faults"] += int(fault)
        if fault:
            print(f"status {driver.returncode}: {errors}", flush=True)
    counts["faults"] += counts["orphans"]
    return counts


def make_whole(folder: Path, masks: int) -> WholeBatch:
    """Copies of the sample images, and their batch by one process."""
    folder.mkdir(parents=True)
    photos = sorted(IMAGES.glob("*.png"))
    copies = [folder / f"{number}-{photo.name}" for number in range(4) for photo in photos]
    for number, copy in enumerate(copies):
        copy.write_bytes(photos[number % len(photos)].read_bytes())
    listed = folder / "images.csv"
    listed.write_text("\n".join(["image", *map(str, copies)]), encoding="utf-8")
    words = ("batch", MODEL, listed, "-m", "rise", "--masks", masks, "--threads", 1, "--part-size", 2, "--quiet")
    seconds = finish(*words, "-o", folder / "whole")
    return WholeBatch(words, parts_of(folder / "whole"), seconds)


def parts_of(folder: Path) -> dict[str, bytes]:
    """The parts in a folder, by name."""
    return {path.name: path.read_bytes() for path in folder.glob("*.parquet")}


def count_orphans(mark: bytes) -> int:
    """How many marked processes are still alive after ten seconds."""
    ends = time.monotonic() + _SECONDS_TO_END
    while marked_processes(mark) and time.monotonic() < ends:
        time.sleep(0.1)
    left = marked_processes(mark)
    for pid in left:
        print(f"orphan {pid}: {words_of(pid)!r}", flush=True)
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
    return len(left)


def marked_processes(mark: bytes) -> list[int]:
    """The processes that inherited a mark, without this one and the dead."""
    found = []
    for path in _PROCESSES.glob("[0-9]*/environ"):
        with suppress(OSError):
            is_dead = (path.parent / "stat").read_text(encoding="ascii").rpartition(")")[2].split()[0] == "Z"
            if mark in path.read_bytes().split(b"\0") and not is_dead:
                found.append(int(path.parent.name))
    return [pid for pid in found if pid != os.getpid()]


def parent_of(pid: int) -> int:
    """The parent of a process; 0 if it is gone."""
    try:
        return int((_PROCESSES / str(pid) / "stat").read_text(encoding="ascii").rpartition(")")[2].split()[1])
    except OSError:
        return 0


def words_of(pid: int) -> bytes:
    """The command of a process; nothing if it is gone."""
    try:
        return (_PROCESSES / str(pid) / "cmdline").read_bytes().replace(b"\0", b" ")
    except OSError:
        return b""


@contextmanager
def _marked() -> Iterator[bytes]:
    """What is started within the context carries a mark in its environment."""
    token = secrets.token_hex(8)
    os.environ[_MARK] = token
    try:
        yield f"{_MARK}={token}".encode()
    finally:
        del os.environ[_MARK]
