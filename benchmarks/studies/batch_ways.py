"""The same batch by one process, by two workers, and by two actors of a Ray on this machine: rows, speed, memory.

python -m benchmarks.studies.batch_ways [--images 2000] [--part-size 100] [--ways one workers ray]

Small images, Grad-CAM and RISE (16 masks) with the shipped model, one thread per engine. Says whether all rows are
equal and all maps equal bit by bit, images per second, and the largest memory of the driver and of each worker. Exit
status 1 if anything differs.
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
import time
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
from PIL import Image

from onnxplain.demo import IMAGES, MODEL

WAYS: dict[str, tuple[str, ...]] = {
    "one": (),
    "workers": ("--workers", "2"),
    "ray": ("--workers", "2", "--address", "local"),
}
_MARK = "ONNXPLAIN_WAYS"
_PROCESSES = Path("/proc")


@dataclass(frozen=True)
class WayResult:
    """What a way of running wrote, and what it cost. By kind of process: peak memory in MB, processor time in s."""

    rows: list[dict[str, Any]]
    parts: dict[str, bytes]
    seconds: float
    seconds_working: float
    memory_mb: dict[str, list[int]]
    processor_seconds: dict[str, float]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--images", type=int, default=2000)
    parser.add_argument("--part-size", type=int, default=100)
    parser.add_argument("--ways", nargs="+", choices=WAYS, default=list(WAYS))
    asked = parser.parse_args()
    results: dict[str, WayResult] = {}
    with tempfile.TemporaryDirectory() as root:
        source = write_images(Path(root) / "images", asked.images)
        for way in asked.ways:
            results[way] = run(source, Path(root) / way, asked.part_size, way)
            found = results[way]
            print(
                f"{way}: {len(found.rows)} rows, {found.seconds:.0f} s, of them {found.seconds_working:.0f} s from the "
                f"first part to the last: {asked.images / found.seconds_working:.1f} images/s; MB {found.memory_mb}; "
                f"processor seconds {found.processor_seconds}; "
                f"load {os.getloadavg()[0]:.1f}",
                flush=True,
            )
            shutil.rmtree(Path(root) / way)
    first, *others = results.values()
    differ = sum(other.rows != first.rows or other.parts != first.parts for other in others)
    print(f"{len(others)} ways beside {asked.ways[0]}: {differ} with another row, another bit of a map or another byte")
    return 1 if differ else 0


def write_images(folder: Path, count: int) -> Path:
    """The sample images, each time with other noise; one of 500 is damaged."""
    folder.mkdir()
    rng = np.random.default_rng(0)
    samples = [np.asarray(Image.open(path).convert("RGB")) for path in sorted(IMAGES.glob("*.png"))]
    for number in range(count):
        sample = samples[number % len(samples)].astype(np.int16)
        noisy = np.clip(sample + rng.integers(-20, 21, sample.shape), 0, 255).astype(np.uint8)
        path = folder / f"{number:05d}.png"
        Image.fromarray(noisy).save(path)
        if number % 500 == 499:
            path.write_bytes(path.read_bytes()[:100])
    return folder


def run(source: Path, out: Path, part_size: int, way: str) -> WayResult:
    """One run of the command. The memory of its processes is looked at ten times a second."""
    words = ["batch", MODEL, source, "-m", "grad-cam", "-m", "rise", "--masks", 16, "--threads", 1]
    words += ["--part-size", part_size, "--quiet", "-o", out, *WAYS[way]]
    began = time.monotonic()
    process = subprocess.Popen(
        [sys.executable, "-m", "onnxplain", *map(str, words)], env={**os.environ, _MARK: str(out)}
    )
    last: dict[int, tuple[str, int, float]] = {}
    while process.poll() is None:
        # Both only grow.
        last.update({pid: (kind, peak, seconds) for pid, kind, peak, seconds in processes_of(out, process.pid)})
        time.sleep(0.1)
    # Damaged images are part of the source.
    if process.returncode not in (0, 1):
        raise SystemExit(f"{way}: status {process.returncode}")
    seconds = time.monotonic() - began
    files = sorted(out.glob("*.parquet"))
    times = sorted(path.stat().st_mtime for path in files)
    working = (times[-1] - times[0]) * len(files) / max(1, len(files) - 1)
    memory: dict[str, list[int]] = {}
    processor: dict[str, float] = {}
    for kind, peak, spent in last.values():
        memory.setdefault(kind, []).append(peak)
        processor[kind] = round(processor.get(kind, 0.0) + spent, 1)
    rows = [row for path in files for row in pq.ParquetFile(path).read().to_pylist()]
    return WayResult(rows, {path.name: path.read_bytes() for path in files}, seconds, working, memory, processor)


def processes_of(out: Path, driver: int) -> list[tuple[int, str, int, float]]:
    """Number, kind, peak memory in MB and processor time in s of the driver and its workers."""
    found = []
    mark = f"{_MARK}={out}".encode()
    for path in _PROCESSES.glob("[0-9]*"):
        with suppress(OSError, ValueError, IndexError):
            if mark not in (path / "environ").read_bytes().split(b"\0"):
                continue
            words = (path / "cmdline").read_bytes()
            status = dict(
                line.split(":", 1) for line in (path / "status").read_text(encoding="ascii").splitlines() if ":" in line
            )
            pid, peak = int(path.name), int(status["VmHWM"].split()[0]) // 1024
            times = (path / "stat").read_text(encoding="ascii").rpartition(")")[2].split()[11:13]
            seconds = sum(map(int, times)) / os.sysconf("SC_CLK_TCK")
            if pid == driver:
                found.append((pid, "driver", peak, seconds))
            elif b"PartActor" in words or b"onnxplain.batch.worker" in words:
                found.append((pid, "worker", peak, seconds))
    return found


if __name__ == "__main__":
    raise SystemExit(main())
