"""Many cases of one kind: make the files, run the command, judge its end, count."""

from __future__ import annotations

import random
import shutil
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from tests.fuzz.kinds import KINDS, Seeds
from tests.fuzz.nursery import Ending, Nursery
from tests.fuzz.verdict import faults

MOST_LINES = 12
# How the project's own lines begin.
OWN = ("onnxplain: ", "left out: ")
TEMPORARY = "tmp"


@dataclass(frozen=True)
class Finding:
    """A case with faults. The same kind and seed make it again."""

    kind: str
    seed: int
    faults: tuple[str, ...]
    words: tuple[str, ...]
    ending: Ending


@dataclass
class Tally:
    """What was counted of one kind of cases."""

    cases: int = 0
    statuses: Counter[str] = field(default_factory=Counter)
    faults: Counter[str] = field(default_factory=Counter)
    most_seconds: float = 0.0
    most_memory: int = 0
    most_lines: int = 0

    def add(self, ending: Ending, found: list[str]) -> None:
        """Count one case."""
        self.cases += 1
        self.statuses[str(ending.status) if ending.signal is None else f"signal {ending.signal}"] += 1
        self.faults.update(found)
        self.most_seconds = max(self.most_seconds, ending.seconds)
        self.most_memory = max(self.most_memory, ending.memory)
        self.most_lines = max(self.most_lines, len(ending.stderr.splitlines()))


def run_case(kind: str, seed: int, seeds: Seeds, nursery: Nursery, folder: Path) -> tuple[Finding, Ending]:
    """Run one case in a folder of its own; a finding without faults is a case that ended as it should."""
    shutil.rmtree(folder, ignore_errors=True)
    (folder / TEMPORARY).mkdir(parents=True)
    words = KINDS[kind].make(random.Random(f"{kind} {seed}"), seeds, folder)
    before = set(folder.rglob("*"))
    ending = nursery.run(words, folder)
    new = sorted(set(folder.rglob("*")) - before)
    # Temporary files are left by no command, results by no command that failed.
    left = new if ending.status not in (0, 1) else [path for path in new if TEMPORARY in path.parts]
    found = faults(ending, MOST_LINES, left)
    if any(line and not line.startswith(OWN) for line in ending.stderr.splitlines()):
        found.append("foreign line")
    return Finding(kind, seed, tuple(found), tuple(words), ending), ending


def campaign(
    counts: dict[str, int], first_seed: int, folder: Path, report: Callable[[Finding], None] | None = None
) -> Iterator[tuple[str, Tally]]:
    """Run so many cases of each kind; yields the tally of each."""
    from tests.fuzz.kinds import make_seeds

    seeds = make_seeds(folder / "seeds")
    with Nursery(folder / "nursery") as nursery:
        for kind, count in counts.items():
            tally = Tally()
            for seed in range(first_seed, first_seed + count):
                finding, ending = run_case(kind, seed, seeds, nursery, folder / "case")
                tally.add(ending, list(finding.faults))
                if finding.faults and report is not None:
                    report(finding)
            yield kind, tally
