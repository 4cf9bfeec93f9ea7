"""Actors of Ray write the bytes of one process; kills lose nothing and leave no process (`make test-ray`)."""

from __future__ import annotations

import os
import random
import shutil
import signal
import subprocess
import sys
import time
from importlib.util import find_spec
from pathlib import Path

import pytest

from tests.batch.conftest import write_slow_photos
from tests.batch.reading import part_bytes, rows
from tests.batch.trouble import run

pytestmark = [
    pytest.mark.ray,
    pytest.mark.skipif(find_spec("ray") is None, reason="ray is not installed"),
    pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="looks for processes in /proc"),
]
SECONDS = 240
ENVIRONMENT = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
_PROBE = """
from onnxplain.batch.ray_fleet import RayChoice, connected
with connected(RayChoice("local"), 2) as ray:
    assert ray.get(ray.remote(lambda: 5).remote(), timeout=100) == 5
"""


@pytest.fixture(scope="module", autouse=True)
def _ray_starts() -> None:
    try:
        found = subprocess.run(
            [sys.executable, "-c", _PROBE],
            env=ENVIRONMENT,
            timeout=SECONDS,
            capture_output=True,
            text=True,
            check=False,
        )
    except subprocess.TimeoutExpired:
        pytest.skip(f"a local Ray does not start within {SECONDS} s here")
    if found.returncode:
        pytest.skip(f"a local Ray does not start here: {found.stderr.strip().splitlines()[-1]}")


@pytest.fixture(scope="module")
def slow_photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """48 images, each of which takes 50 ms to read."""
    return write_slow_photos(tmp_path_factory.mktemp("slow"), 48)


@pytest.fixture(scope="module")
def whole(model: Path, slow_photos: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    out = tmp_path_factory.mktemp("whole")
    run(model, slow_photos, out, part_size=4)
    return part_bytes(out)


def start(*words: object) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "tests.batch.trouble", *map(str, words)]
    return subprocess.Popen(command, env=ENVIRONMENT, stderr=subprocess.PIPE, text=True, start_new_session=True)


def finish(*words: object) -> str:
    process = start(*words)
    _, errors = process.communicate(timeout=SECONDS)
    assert process.returncode == 0, errors
    return errors


def of_ray(driver: int) -> dict[int, str]:
    """Number and command of every process of Ray in the session of a driver, also after its death."""
    found = {}
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            words = path.read_bytes().replace(b"\0", b" ").decode(errors="replace").strip()
            state, _, _, session = (path.parent / "stat").read_text().rpartition(")")[2].split()[:4]
        except OSError:
            continue
        if state != "Z" and int(session) == driver and ("ray::" in words or "/ray/" in words):
            found[int(path.parent.name)] = words
    return found


def test_two_actors_write_the_bytes_of_one_process(model: Path, photos: Path, tmp_path: Path) -> None:
    run(model, photos, tmp_path / "one", part_size=4, methods=("grad-cam", "rise"), masks=64)
    finish(model, photos, tmp_path / "ray", "ray:2", "grad-cam", "rise")
    assert part_bytes(tmp_path / "one") == part_bytes(tmp_path / "ray")
    assert len(rows(tmp_path / "ray")) == 60 * 2 + 1


def test_actors_that_are_killed_at_random_moments(
    model: Path, slow_photos: Path, whole: dict[str, bytes], tmp_path: Path
) -> None:
    rng, kills = random.Random(22), 0
    driver = start(model, slow_photos, tmp_path, "ray:2")
    deadline = time.monotonic() + SECONDS
    while driver.poll() is None and time.monotonic() < deadline:
        actors = [pid for pid, words in of_ray(driver.pid).items() if "PartActor.make" in words]
        if actors and kills < 3:
            os.kill(rng.choice(actors), signal.SIGKILL)
            kills += 1
        time.sleep(rng.uniform(0.1, 0.6))
    _, errors = driver.communicate(timeout=10)
    assert driver.returncode == 0, errors
    assert kills >= 1
    assert part_bytes(tmp_path) == whole


def test_an_image_that_kills_its_actor_becomes_an_error_row(model: Path, photos: Path, tmp_path: Path) -> None:
    source = tmp_path / "source"
    shutil.copytree(photos / "second", source)
    shutil.copy(source / "02.png", source / "kill.png")
    finish(model, source, tmp_path / "out", "ray:1")
    (failed,) = [row for row in rows(tmp_path / "out") if row["error"] is not None]
    assert failed["image"].endswith("/kill.png")
    assert "the process died each time" in failed["error"]
    assert len(rows(tmp_path / "out")) == 21


@pytest.mark.parametrize("moment", ["starting", "working"])
def test_a_driver_that_is_killed_leaves_no_process_and_whole_parts(
    moment: str, model: Path, slow_photos: Path, whole: dict[str, bytes], tmp_path: Path
) -> None:
    driver = start(model, slow_photos, tmp_path, "ray:2")
    deadline = time.monotonic() + SECONDS
    while driver.poll() is None and time.monotonic() < deadline:
        if list(tmp_path.glob("*.parquet")) if moment == "working" else len(of_ray(driver.pid)) > 2:
            break
        time.sleep(0.05)
    time.sleep(random.Random(moment).uniform(0, 2) if moment == "starting" else 0)
    assert driver.poll() is None
    assert of_ray(driver.pid)
    driver.kill()
    driver.communicate()
    killed = time.monotonic()
    while of_ray(driver.pid) and time.monotonic() < killed + 10:
        time.sleep(0.1)
    assert not of_ray(driver.pid)
    found = part_bytes(tmp_path)
    assert found.items() <= whole.items()
    run(model, slow_photos, tmp_path, part_size=4)
    assert part_bytes(tmp_path) == whole
