"""Time of new processes: to the first heatmap on disk, and to the end of an import."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path

import numpy as np

from benchmarks.bench import Bench, Outcome
from benchmarks.case import Case, tool_folder
from benchmarks.client import WorkerError
from benchmarks.rounds import measure_rounds

PATIENCE_SECONDS = 300
COMMAND_LINE = "onnxplain@cli"


def measure_start(bench: Bench, case: Case, outcomes: Sequence[Outcome]) -> None:
    """From process start to a map in a file: each tool's worker as a script; for onnxplain also the command line."""

    def sample(tool: str, _round: int) -> float:
        answer = bench.answer_path(case, tool)
        answer.unlink(missing_ok=True)
        seconds = run_process(start_command(bench, case, tool, answer), bench.environment(tool))
        if tool != COMMAND_LINE:
            by_tool[tool].map = np.load(answer)
        return seconds

    by_tool = {outcome.tool: outcome for outcome in outcomes}
    _measure_processes(case, outcomes, sample)


def start_command(bench: Bench, case: Case, tool: str, answer: Path) -> list[str | Path]:
    """The command that a user would run."""
    if tool == COMMAND_LINE:
        model = bench.describe(case.model)
        photo = write_photo(Path(model["photos"][0]), bench.scratch / "photo.png")
        program = [Path(sys.executable).with_name("onnxplain")]
        return [*program, "explain", model["explainable"], photo, "--target", str(model["target"]), "--provider", "cpu",
                "-o", bench.scratch / "cold-start"]  # fmt: skip
    question = bench.scratch / "question.json"
    question.write_text(json.dumps(bench.question(case, tool_folder(tool))), encoding="utf-8")
    return bench.command(tool, "--once", question, answer)


def write_photo(source: Path, destination: Path) -> Path:
    """A photo of the subjects as an image file for the command line."""
    if not destination.exists():
        from PIL import Image

        destination.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(np.load(source)).save(destination)
    return destination


def measure_import(bench: Bench, case: Case, outcomes: Sequence[Outcome]) -> None:
    """Time of a Python process that only imports what a user of the tool imports."""

    def sample(tool: str, _round: int) -> float:
        found = bench.find(tool)
        if found.statement is None:
            raise WorkerError(f"peers/{tool}/recipe.toml has no `import`")
        return run_process([found.python, "-c", found.statement], bench.environment(tool))

    _measure_processes(case, outcomes, sample)


def run_process(command: Sequence[str | Path], environment: Mapping[str, str]) -> float:
    """Seconds from the start to the end of a process. Raises WorkerError if it fails."""
    start = time.perf_counter()
    try:
        done = subprocess.run(
            [str(part) for part in command], env=environment, capture_output=True, text=True, timeout=PATIENCE_SECONDS
        )
    except subprocess.TimeoutExpired:
        raise WorkerError(f"not done within {PATIENCE_SECONDS} s") from None
    except OSError as error:
        raise WorkerError(f"{command[0]}: {error.strerror}") from None
    seconds = time.perf_counter() - start
    if done.returncode:
        raise WorkerError((done.stderr.strip().splitlines() or [f"ended with status {done.returncode}"])[-1])
    return seconds


def _measure_processes(case: Case, outcomes: Sequence[Outcome], sample: Callable[[str, int], float]) -> None:
    """Measure one round more and drop the first, which reads the files into the system's cache."""
    actions = {outcome.tool: partial(sample, outcome.tool) for outcome in outcomes}
    samples, errors = measure_rounds(actions, case.rounds + 1)
    for outcome in outcomes:
        outcome.samples = samples[outcome.tool][1:]
        if outcome.tool in errors:
            outcome.fail(errors[outcome.tool])
