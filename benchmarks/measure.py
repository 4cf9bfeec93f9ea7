"""How each kind of case is measured: a table of functions; each gives one outcome per tool."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import ExitStack
from functools import partial

from benchmarks.bench import Bench, Outcome, open_all
from benchmarks.case import Case, Kind, makes_map, tool_folder
from benchmarks.client import Client, WorkerError
from benchmarks.cold import measure_import, measure_start
from benchmarks.quality import measure_quality
from benchmarks.rounds import measure_rounds

# If a call is shorter than this, a sample is the mean of several calls.
SAMPLE_SECONDS = 0.1
MOST_CALLS = 200
FIRST_CALL_SECONDS = 3

Measure = Callable[[Bench, Case, Sequence[Outcome]], None]


def measure(bench: Bench, case: Case, tools: Sequence[str]) -> list[Outcome]:
    """One outcome per tool, in that order; a failure is the error of its outcome."""
    outcomes = [Outcome(tool) for tool in tools]
    MEASURES[case.kind](bench, case, outcomes)
    return outcomes


def measure_time(bench: Bench, case: Case, outcomes: Sequence[Outcome]) -> None:
    """Prepare all tools in parallel, warm them up, then time them in rounds."""
    with ExitStack() as stack:
        clients = open_all(bench, case, outcomes, stack)
        calls: dict[str, int] = {}
        for outcome in outcomes:
            if outcome.tool in clients:
                try:
                    calls[outcome.tool] = warm_up(clients[outcome.tool], 0 if bench.quick else SAMPLE_SECONDS)
                except WorkerError as error:
                    outcome.fail(error)

        def sample(tool: str, _round: int) -> float:
            return clients[tool].run(calls[tool])

        samples, errors = measure_rounds({tool: partial(sample, tool) for tool in calls}, case.rounds)
        for outcome in outcomes:
            if outcome.tool in errors:
                outcome.fail(errors[outcome.tool])
            elif outcome.tool in calls:
                outcome.samples = samples[outcome.tool]
                fetch_answer(bench, case, outcome, clients[outcome.tool])
                if case.method == "throughput":
                    photos = len(bench.describe(case.model)["photos"])
                    outcome.samples = [photos / seconds for seconds in outcome.samples]


def warm_up(client: Client, sample_seconds: float) -> int:
    """Warm the tool up; returns the number of calls that take about `sample_seconds`."""
    seconds = client.run(1)
    # The first call may do one-time work, so its duration does not count.
    if seconds < FIRST_CALL_SECONDS:
        seconds = client.run(1)
    if seconds < sample_seconds:
        seconds = client.run(3)
    return min(max(round(sample_seconds / seconds), 1), MOST_CALLS)


def fetch_answer(bench: Bench, case: Case, outcome: Outcome, client: Client) -> None:
    """The map of the last run and its number of forward passes; a yardstick makes no map."""
    outcome.evaluations = client.evaluations
    if not makes_map(outcome.tool):
        return
    try:
        outcome.map = client.answer(bench.answer_path(case, outcome.tool))
    except WorkerError as error:
        outcome.fail(error)


def measure_memory(bench: Bench, case: Case, outcomes: Sequence[Outcome]) -> None:
    """Peak memory of a process that does the work once; a new process per sample."""
    by_tool = {outcome.tool: outcome for outcome in outcomes}

    def sample(tool: str, _round: int) -> float:
        with bench.open(tool, case) as client:
            by_tool[tool].versions = client.hello()
            client.prepare(bench.question(case, tool))
            client.run(1)
            peak_bytes = client.peak()
            fetch_answer(bench, case, by_tool[tool], client)
        return float(peak_bytes)

    samples, errors = measure_rounds({tool: partial(sample, tool) for tool in by_tool}, case.rounds)
    for outcome in outcomes:
        outcome.samples = samples[outcome.tool]
        if outcome.tool in errors:
            outcome.fail(errors[outcome.tool])


def measure_size(bench: Bench, case: Case, outcomes: Sequence[Outcome]) -> None:
    """Bytes of the packages in a tool's environment."""
    for outcome in outcomes:
        found = bench.locate(tool_folder(outcome.tool))
        if found.installed_bytes is None:
            outcome.fail(found.reason or f"not installed: python -m benchmarks peers --install {found.name}")
        else:
            outcome.samples = [float(found.installed_bytes)]


MEASURES: dict[Kind, Measure] = {
    "time": measure_time,
    "start": measure_start,
    "import": measure_import,
    "size": measure_size,
    "memory": measure_memory,
    "quality": measure_quality,
}
