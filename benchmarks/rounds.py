"""Interleaved measuring: in every round each tool is measured once, and the first tool changes from round to round.

So other load on the machine affects all tools equally, and samples of one round can be divided by each other.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence

from benchmarks.client import WorkerError

# Pause between two samples, so that one tool's threads sleep before the next tool runs.
PAUSE_SECONDS = 0.05


def rotate(tools: Sequence[str], round_number: int) -> list[str]:
    """A B C, then B C A, then C A B."""
    first = round_number % max(len(tools), 1)
    return [*tools[first:], *tools[:first]]


def measure_rounds(
    actions: Mapping[str, Callable[[int], float]], rounds: int, pause: float = PAUSE_SECONDS
) -> tuple[dict[str, list[float]], dict[str, str]]:
    """Samples by tool, one per round, and reasons by failed tool; a tool that failed once is not measured again.

    An action gets the number of the round and returns its sample.
    """
    samples: dict[str, list[float]] = {tool: [] for tool in actions}
    errors: dict[str, str] = {}
    for number in range(rounds):
        for tool in rotate(list(actions), number):
            if tool in errors:
                continue
            time.sleep(pause)
            try:
                samples[tool].append(actions[tool](number))
            except WorkerError as error:
                errors[tool] = str(error)
    return {tool: [] if tool in errors else values for tool, values in samples.items()}, errors
