"""``python -m tests.fuzz [--cases N] [--seed N] [--kind KIND]``: run cases and print what was counted.

A finding is printed with its seed; ``--kind KIND --seed N --cases 1 --keep FOLDER`` makes it again and keeps its files.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from pathlib import Path

from tests.fuzz.campaign import Finding, campaign
from tests.fuzz.kinds import KINDS


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz", description=__doc__)
    parser.add_argument("--cases", type=int, default=2000, help="number of cases in all")
    parser.add_argument("--seed", type=int, default=0, help="seed of the first case of each kind")
    parser.add_argument("--kind", choices=KINDS, action="append", help="only these kinds")
    parser.add_argument("--keep", type=Path, help="folder that keeps the files of the last case")
    options = parser.parse_args()
    kinds = {name: KINDS[name].share for name in options.kind or KINDS}
    counts = {name: max(1, options.cases * share // sum(kinds.values())) for name, share in kinds.items()}
    started = time.monotonic()
    with tempfile.TemporaryDirectory() as temporary:
        failed = False
        print("| kind | cases | statuses | faults | most seconds | most memory | most lines |")
        print("| --- | --- | --- | --- | --- | --- | --- |")
        for kind, tally in campaign(counts, options.seed, options.keep or Path(temporary), show):
            failed |= bool(tally.faults)
            statuses, faults = (
                ", ".join(f"{name}: {count}" for name, count in sorted(counter.items())) or "none"
                for counter in (tally.statuses, tally.faults)
            )
            print(
                f"| {kind} | {tally.cases} | {statuses} | {faults} | {tally.most_seconds:.1f} | "
                f"{tally.most_memory / 2**20:.0f} MB | {tally.most_lines} |",
                flush=True,
            )
    print(f"{time.monotonic() - started:.0f} s", file=sys.stderr)
    return int(failed)


def show(finding: Finding) -> None:
    ending = finding.ending
    lines = ending.stderr.strip().splitlines()
    print(
        f"{', '.join(finding.faults)}: --kind {finding.kind!r} --seed {finding.seed}: "
        f"{' '.join(map(ascii, finding.words))[:200]}: status {ending.status}, signal {ending.signal}, "
        f"{ending.seconds:.1f} s, {ending.memory / 2**20:.0f} MB: {ascii(lines[-1][:300]) if lines else 'no line'}",
        file=sys.stderr,
        flush=True,
    )


if __name__ == "__main__":
    sys.exit(main())
