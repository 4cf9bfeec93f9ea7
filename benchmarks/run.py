"""One run over the table of cases: choose cases, skip those already measured, measure the rest."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import replace
from fnmatch import fnmatchcase
from pathlib import Path

import numpy as np

from benchmarks.bench import Bench, Outcome
from benchmarks.case import Case, shrink, tool_folder
from benchmarks.measure import measure
from benchmarks.record import Run, make_rows
from benchmarks.results import Row, append_case, measured, read_results
from benchmarks.subjects import write_missing

UNIT_SCALES = {"s": (1000, "ms"), "bytes": (2**-20, "MiB"), "images/s": (1, "images/s")}


class UsageError(Exception):
    """Wrong arguments; the message is one line."""


def choose_cases(
    cases: Sequence[Case], groups: Sequence[str], patterns: Sequence[str], tools: Sequence[str]
) -> list[Case]:
    """The cases of these groups whose names match one of the patterns, with only these tools; empty: no restriction.

    A tool may be named with its variant or without. Raises UsageError for a group, pattern or tool that no case has.
    """
    known_groups = list(dict.fromkeys(case.group for case in cases))
    known_tools = sorted({name for case in cases for tool in case.tools for name in (tool, tool_folder(tool))})
    for group in groups:
        if group not in known_groups:
            raise UsageError(f"group: found {group!r}, expected one of {', '.join(known_groups)}")
    for pattern in patterns:
        if not any(fnmatchcase(case.name, pattern) for case in cases):
            raise UsageError(f"case: found {pattern!r}, which no case matches: see `python -m benchmarks list`")
    for tool in tools:
        if tool not in known_tools:
            raise UsageError(f"tool: found {tool!r}, expected one of {', '.join(known_tools)}")
    chosen = []
    for case in cases:
        asked = tuple(tool for tool in case.tools if not tools or tool in tools or tool_folder(tool) in tools)
        matches = not patterns or any(fnmatchcase(case.name, pattern) for pattern in patterns)
        if asked and matches and (not groups or case.group in groups):
            chosen.append(replace(case, tools=asked))
    if not chosen:
        raise UsageError("found no case that has all of these groups, cases and tools: see `python -m benchmarks list`")
    return chosen


def run_cases(run: Run, bench: Bench, cases: Sequence[Case], results: Path, again: bool = False) -> int:
    """Measure cases that the results do not have; returns their number. Raises ResultsError for another format."""
    rows = read_results(results) if results.exists() else []
    todo = [case for case in cases if again or not measured(rows, run.name, case.name) >= set(case.tools)]
    if len(todo) < len(cases):
        say(f"{results} already has {len(cases) - len(todo)} of these {len(cases)} cases: measuring the others")
    todo = leave_out_gpu(todo, run)
    reasons = write_missing([case.model for case in todo])
    for number, case in enumerate(todo, start=1):
        say(f"[{number}/{len(todo)}] {case.name}")
        sized = shrink(case) if bench.quick else case
        sized = replace(sized, rounds=run.rounds) if run.rounds is not None and case.kind != "quality" else sized
        if case.model in reasons:
            outcomes = [Outcome(tool, error=reasons[case.model]) for tool in case.tools]
        else:
            outcomes = measure(bench, sized, case.tools)
        measured_rows = make_rows(run, bench, sized, outcomes)
        append_case(results, measured_rows)
        for row in measured_rows:
            say(f"    {row['tool']:24} {summarise(row)}")
    return len(todo)


def leave_out_gpu(cases: Sequence[Case], run: Run) -> list[Case]:
    """Without a CUDA device, leave out GPU cases and print their number."""
    if run.machine["gpu"] is not None:
        return list(cases)
    on_host = [case for case in cases if case.provider == "cpu"]
    if len(on_host) < len(cases):
        say(f"skipped {len(cases) - len(on_host)} GPU cases: no CUDA device found")
    return on_host


def summarise(row: Row) -> str:
    """The median sample, or the reason why there is none, and the correlation of the maps."""
    if row["error"] is not None:
        return f"– {row['error']}"
    scale, unit = UNIT_SCALES[row["unit"]]
    text = f"{scale * np.median(row['samples']):10.1f} {unit}" if row["samples"] else "goal not reached"
    if row["quality"] is not None and row["evaluations"] is not None:
        text += f", {row['evaluations']:.0f} evaluations"
    if row["agreement"] is not None:
        text += f", correlation with {row['agreement']['with']} {row['agreement']['correlation']:.4f}"
    return text


def say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)
