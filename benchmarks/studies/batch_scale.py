"""What the driver of `onnxplain batch` costs per image and in memory: a million images through the real scheduler.

python -m benchmarks.studies.batch_scale [--images 1000000] [--part-size 256] [--workers 100] [--seed 0]

Plan, tasks, protocol and progress are those of a run on Ray. The workers are fakes under a clock of their own: a part
takes as long as `SECONDS_PER_IMAGE` says, 3 of 100 parts take ten times as long, a worker dies at 1 of 200 parts, and
20 images kill every worker that explains them. Then parts are written and found again as a resumed run finds them.
docs/scale.md goes on from these numbers.
"""

from __future__ import annotations

import argparse
import random
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from benchmarks.machine import cpu_name
from onnxplain.batch.fleet import make_with_fleet
from onnxplain.batch.folder import BatchCounts, BatchFolder
from onnxplain.batch.job import BatchEvent, ImageTrial, PartDone, PartLost, PartTask
from onnxplain.batch.plan import BatchPlan
from onnxplain.batch.progress import BatchProgress
from onnxplain.batch.schema import PartFooter, write_part
from onnxplain.batch.stores.output import LocalOutput
from onnxplain.batch.todo import PartsToDo
from tests.batch.fakes import FakeFleet, Task

SECONDS_PER_IMAGE = 0.08
SECONDS_TO_OPEN = 30.0
SLOW, SLOW_FACTOR, DEATHS, CULPRITS = 0.03, 10.0, 0.005, 20
NAME = "s3://bucket/photos/2026/{:03d}/{:09d}.jpg"
_RESUMED_PARTS = 2000

_Result = TypeVar("_Result")


@dataclass
class Trouble:
    """How long tasks take and which of them kill, by a seed."""

    rng: random.Random
    culprits: frozenset[str]

    def seconds(self, worker: int, task: Task) -> float:
        if task is None:
            return SECONDS_TO_OPEN
        if isinstance(task, ImageTrial):
            return SECONDS_PER_IMAGE
        slow = SLOW_FACTOR if self.rng.random() < SLOW else 1.0
        return slow * SECONDS_PER_IMAGE * len(task.images)

    def dies(self, worker: int, task: Task) -> bool:
        if isinstance(task, ImageTrial):
            return task.image in self.culprits
        if not isinstance(task, PartTask):
            return False
        inside = (place for place, image in enumerate(task.images) if image in self.culprits)
        return self.rng.random() < DEATHS or any(place not in task.left_out for place in inside)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    for name, default in (("images", 1_000_000), ("part-size", 256), ("workers", 100), ("seed", 0)):
        parser.add_argument(f"--{name}", type=int, default=default)
    asked = parser.parse_args()
    print(f"{asked.images} images, {asked.part_size} per part, {asked.workers} workers, {cpu_name()}")
    rng = random.Random(asked.seed)
    began = memory_bytes()
    names = tuple(NAME.format(number // 10_000, number) for number in range(asked.images))
    plan = told("plan", asked.images, lambda: BatchPlan(names, asked.part_size, 1, "host"))
    told("plan written and hashed", asked.images, lambda: plan.sha256)
    print(f"plan: {len(plan.content) / 2**20:.0f} MiB, {(memory_bytes() - began) / 2**20:.0f} MiB in memory")
    culprits = frozenset(rng.sample(names, CULPRITS))
    simulate(plan, asked.workers, Trouble(rng, culprits))
    print(
        f"driver's memory after the run: {memory_bytes() / 2**20:.0f} MiB, {(memory_bytes() - began) / 2**20:.0f} more"
    )
    with tempfile.TemporaryDirectory() as folder:
        resume(BatchFolder(LocalOutput(Path(folder))), asked.part_size)


def simulate(plan: BatchPlan, workers: int, trouble: Trouble) -> None:
    """All parts of a plan through `make_with_fleet`; says what they cost this process."""
    fleet = FakeFleet(trouble.seconds, trouble.dies, keep_log=False)
    progress = BatchProgress(len(plan.images), plan.parts, BatchCounts())
    done: set[int] = set()
    ends: list[float] = []
    counts = {"lost": 0, "doubled": 0}

    def report(event: BatchEvent) -> None:
        progress.add(event)
        progress.moment()
        counts["lost"] += isinstance(event, PartLost)
        if isinstance(event, PartDone):
            counts["doubled"] += event.part in done
            done.add(event.part)
            ends.append(fleet.now)

    todo = PartsToDo(plan, ())
    told("scheduler", len(plan.images), lambda: make_with_fleet(fleet, todo, workers, report, clock=fleet.clock))
    ideal = SECONDS_TO_OPEN + len(plan.images) * SECONDS_PER_IMAGE / workers
    print(
        f"{len(done)} of {plan.parts} parts, {counts['doubled']} twice, {counts['lost']} given up by the engine and "
        f"taken apart, {progress.counts.failed} images failed ({len(trouble.culprits)} culprits)"
    )
    print(
        f"simulated time: 99 of 100 parts after {ends[int(0.99 * len(ends))]:.0f} s, all after {fleet.now:.0f} s; "
        f"without slow parts and deaths {ideal:.0f} s"
    )


def resume(folder: BatchFolder, part_size: int) -> None:
    """Parts with one row each; says what a resumed run needs to find them."""
    row = {"image": NAME.format(0, 0), "status": "ok"}
    for part in range(_RESUMED_PARTS):
        write_part(folder.place, PartFooter("run", part, part_size, 0), [row])
    told("parts found again", _RESUMED_PARTS, lambda: folder.finished_parts("run", _RESUMED_PARTS))


def told(title: str, count: int, work: Callable[[], _Result]) -> _Result:
    """The result; says how much processor time of this process it took."""
    began = time.process_time()
    result = work()
    seconds = time.process_time() - began
    print(f"{title}: {seconds:.2f} s, {1e6 * seconds / count:.2f} µs each", flush=True)
    return result


def memory_bytes() -> int:
    """The memory of this process that is resident now."""
    for line in Path("/proc/self/status").read_text(encoding="ascii").splitlines():
        if line.startswith("VmRSS:"):
            return 1024 * int(line.split()[1])
    raise RuntimeError("/proc/self/status has no line VmRSS")


if __name__ == "__main__":
    main()
