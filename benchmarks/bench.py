"""What a run needs to measure a case: threads, folders, and how to start each tool."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.case import Case, tool_folder
from benchmarks.client import ROOT, Client, WorkerError, worker_command, worker_environment
from benchmarks.environments import Environment, environment
from benchmarks.subjects import SUBJECTS, describe

SCRATCH = ROOT / "runs" / "bench"


@dataclass(frozen=True)
class Bench:
    """One run. `threads`: of every tool; `quick`: everything once with small sizes, to check that it works.

    `locate` finds a tool's Python and `describe` describes a model; tests replace both.
    """

    threads: int
    quick: bool = False
    scratch: Path = SCRATCH
    locate: Callable[[str], Environment] = environment
    describe: Callable[[str], dict[str, Any]] = field(default=lambda name: describe(SUBJECTS[name]))

    def find(self, tool: str) -> Environment:
        """The tool's environment. Raises WorkerError, with the reason, if it cannot run."""
        found = self.locate(tool_folder(tool))
        if found.reason is not None:
            raise WorkerError(found.reason)
        return found

    def command(self, tool: str, *arguments: str | Path) -> list[str | Path]:
        found = self.find(tool)
        return worker_command(found.python, found.worker, *arguments)

    def environment(self, tool: str) -> dict[str, str]:
        return worker_environment(self.threads, own=self.find(tool).own)

    def open(self, tool: str, case: Case) -> Client:
        """A fresh worker process for the tool."""
        log = self.scratch / "logs" / f"{case.name.replace('/', '-')}-{tool}.log"
        return Client(self.command(tool), self.environment(tool), log)

    def question(self, case: Case, tool: str) -> dict[str, Any]:
        """The case in the form that workers read."""
        model = self.describe(case.model)
        return {
            "name": case.name,
            "tool": tool,
            "method": case.method,
            "model": model,
            "input": model["input"],
            "photos": model["photos"],
            "target": model["target"],
            "batch": case.batch,
            "threads": self.threads,
            "provider": case.provider,
            "masks": case.masks,
            "seed": 0,
            "options": dict(case.options),
        }

    def answer_path(self, case: Case, tool: str) -> Path:
        folder = self.scratch / "answers"
        folder.mkdir(parents=True, exist_ok=True)
        return folder / f"{case.name.replace('/', '-')}-{tool}.npy"


@dataclass
class Outcome:
    """One tool's answer to one case: samples, or an error."""

    tool: str
    samples: list[float] = field(default_factory=list)
    evaluations: float | None = None
    versions: dict[str, str] = field(default_factory=dict)
    map: np.ndarray | None = None
    quality: dict[str, Any] | None = None
    note: str | None = None
    error: str | None = None

    def fail(self, reason: object) -> None:
        self.samples, self.error = [], str(reason)


def open_all(bench: Bench, case: Case, outcomes: Sequence[Outcome], stack: ExitStack) -> dict[str, Client]:
    """A prepared worker for each tool; if a tool has none, its outcome gets the error.

    All tools prepare at the same time, since nothing is measured yet.
    """
    clients: dict[str, Client] = {}

    def prepare(outcome: Outcome) -> None:
        client = clients[outcome.tool]
        try:
            outcome.versions = client.hello()
            client.prepare(bench.question(case, outcome.tool))
        except WorkerError as error:
            outcome.fail(error)

    for outcome in outcomes:
        try:
            clients[outcome.tool] = stack.enter_context(bench.open(outcome.tool, case))
        except WorkerError as error:
            outcome.fail(error)
    with ThreadPoolExecutor(bench.threads) as pool:
        list(pool.map(prepare, [outcome for outcome in outcomes if outcome.error is None]))
    return {outcome.tool: clients[outcome.tool] for outcome in outcomes if outcome.error is None}
