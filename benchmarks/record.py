"""Converts outcomes to lines of the results file."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from benchmarks.agreement import compare_maps
from benchmarks.bench import Bench, Outcome
from benchmarks.case import Case
from benchmarks.machine import commit, describe_machine
from benchmarks.results import Row


@dataclass(frozen=True)
class Run:
    """Cases measured on the same machine with the same code and settings; an interrupted run continues such a run."""

    machine: dict[str, Any]
    commit: str
    threads: int
    quick: bool
    rounds: int | None

    @property
    def name(self) -> str:
        """A name from machine, code and settings; a call with the same name continues the run."""
        settings = [self.machine, self.threads, self.quick, self.rounds]
        digest = hashlib.sha256(json.dumps(settings).encode()).hexdigest()[:8]
        return f"{self.commit}-{digest}{'-quick' if self.quick else ''}"


def start_run(threads: int, quick: bool, rounds: int | None) -> Run:
    return Run(describe_machine(), commit(), threads, quick, rounds)


def make_rows(run: Run, bench: Bench, case: Case, outcomes: Sequence[Outcome]) -> list[Row]:
    """One line per tool, all with the same date, each with its agreement."""
    date = datetime.now(UTC).isoformat(timespec="seconds")
    return [
        {
            "run": run.name,
            "case": case.name,
            "group": case.group,
            "tool": outcome.tool,
            "kind": case.kind,
            "model": case.model,
            "method": case.method,
            "batch": case.batch,
            "masks": case.masks,
            "threads": bench.threads,
            "provider": case.provider,
            "region": case.region,
            "unit": case.unit,
            "samples": outcome.samples,
            "evaluations": outcome.evaluations,
            "agreement": agreement(outcome, outcomes),
            "quality": outcome.quality,
            "note": outcome.note or case.note,
            "error": outcome.error,
            "versions": outcome.versions,
            "machine": run.machine,
            "commit": run.commit,
            "seed": 0,
            "date": date,
        }
        for outcome in outcomes
    ]


def agreement(outcome: Outcome, outcomes: Sequence[Outcome]) -> dict[str, Any] | None:
    """Agreement of a tool's map with onnxplain's, of onnxplain's with torch's; None if one of the two is missing."""
    reference = "torch" if outcome.tool == "onnxplain" else "onnxplain"
    maps = {other.tool: other.map for other in outcomes if other.map is not None}
    if outcome.tool not in maps or reference not in maps:
        return None
    try:
        return compare_maps(maps[outcome.tool], maps[reference], reference)
    except ValueError as error:
        outcome.note = f"not compared with {reference}: {error}"
        return None
