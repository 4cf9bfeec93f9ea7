"""Equal quality: evaluations and seconds until a tool's map reaches the goal, a correlation with the tool's own limit.

A tool runs many times with the same number of masks and a different seed each time. Its limit is the mean of its maps.
Tools draw masks differently and converge to different maps, so each is compared with its own limit. The runs are
divided into one part per trial. The curve of a trial averages the maps of its part one by one; the limit of a trial is
the mean of all other runs. If a single run already reaches the goal, shorter runs with fewer masks are measured. If a
single run does not reach it and the tool draws its masks together, longer runs with more masks are measured.

The limit has noise too, and more noise for a tool that needs more evaluations: its maps would look farther from the
truth than they are. The reliability of the limit is computed from its two halves, and its noise is divided out.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import numpy as np

from benchmarks.agreement import correlate
from benchmarks.bench import Bench, Outcome, open_all
from benchmarks.case import Case, makes_map, tool_folder
from benchmarks.client import Client, WorkerError
from benchmarks.rounds import measure_rounds

GOAL = 0.98
TRIALS = 3
# Numbers of masks for runs that are shorter or longer than the case's.
LADDER = (64, 128, 192, 256, 384, 512, 768, 1280, 1536, 2048, 3072, 4096)
# Tools with low-discrepancy masks and an estimate that uses them together: the mean of two runs is not a run with twice
# the masks. The map of other tools is a sum over independent masks, so the mean of two runs equals a longer run.
TOGETHER = ("onnxplain", "onnxplain-openvino")
# The floor does the same work in every run, so a few runs are enough.
FLOOR_RUNS = 6

# (evaluations, correlation with the limit), in order of evaluations.
Curve = list[tuple[float, float]]
SingleRun = Callable[[int, int], tuple[float, np.ndarray]]


@dataclass(frozen=True)
class Limit:
    """The map (h, w) that a tool converges to, and its estimated correlation with the mean of infinitely many runs."""

    map: np.ndarray
    reliability: float

    @classmethod
    def of(cls, maps: np.ndarray) -> Limit:
        """The mean of runs (runs, h, w); reliability: Spearman-Brown, from the correlation of its halves."""
        halves = correlate(maps[::2].mean(axis=0), maps[1::2].mean(axis=0)) if len(maps) > 1 else 1.0
        return cls(maps.mean(axis=0), float(np.sqrt(2 * halves / (1 + halves))) if halves > 0 else 1.0)

    def nearness(self, found: np.ndarray) -> float:
        """The correlation of a map with the limit, with the limit's noise divided out."""
        return min(correlate(found, self.map) / self.reliability, 1.0)


@dataclass
class Runs:
    """A tool's runs so far: evaluations, seconds and the map of each; the floor has no maps."""

    client: Client
    answer_path: Path
    has_maps: bool
    evaluations: list[int] = field(default_factory=list)
    seconds: list[float] = field(default_factory=list)
    maps: list[np.ndarray] = field(default_factory=list)

    def add(self, masks: int, seed: int) -> float:
        """Do one more run and keep it; returns its seconds."""
        evaluations, seconds, found = self.run(masks, seed)
        self.evaluations.append(evaluations)
        self.seconds.append(seconds)
        if found is not None:
            self.maps.append(found)
        return seconds

    def run(self, masks: int, seed: int) -> tuple[int, float, np.ndarray | None]:
        seconds = self.client.run(1, masks=masks, seed=seed)
        found = self.client.answer(self.answer_path).squeeze() if self.has_maps else None
        return self.client.evaluations or masks, seconds, found

    def single(self, masks: int, seed: int) -> tuple[float, np.ndarray]:
        """Evaluations and map of a run that is not kept."""
        evaluations, _, found = self.run(masks, seed)
        assert found is not None
        return float(evaluations), found


def measure_quality(bench: Bench, case: Case, outcomes: Sequence[Outcome]) -> None:
    """One run of each tool per round; the number of the round is the seed."""
    masks = case.masks or 1
    with ExitStack() as stack:
        clients = open_all(bench, case, outcomes, stack)
        runs = {
            tool: Runs(client, bench.answer_path(case, tool), has_maps=makes_map(tool))
            for tool, client in clients.items()
        }

        def sample(tool: str, seed: int) -> float:
            if not runs[tool].has_maps and seed >= FLOOR_RUNS:
                return runs[tool].seconds[-1]
            if seed == 0:
                clients[tool].run(1, masks=min(LADDER[0], masks), seed=seed)
            return runs[tool].add(masks, seed)

        _, errors = measure_rounds({tool: partial(sample, tool) for tool in clients}, case.rounds)
        for outcome in outcomes:
            if outcome.tool not in clients:
                continue
            try:
                if outcome.tool in errors:
                    raise WorkerError(errors[outcome.tool])
                conclude(outcome, runs[outcome.tool])
            except WorkerError as error:
                outcome.fail(error)


def conclude(outcome: Outcome, runs: Runs) -> None:
    """Seconds and evaluations until the goal; one sample for each trial that reached it."""
    if not runs.has_maps:
        outcome.samples, outcome.evaluations = runs.seconds, float(np.median(runs.evaluations))
        return
    seconds_per_evaluation = sum(runs.seconds) / sum(runs.evaluations)
    curves, limits, reliability = follow_trials(
        np.stack(runs.maps), np.array(runs.evaluations), runs.single, tool_folder(outcome.tool) in TOGETHER
    )
    found = [evaluations_until(GOAL, curve) for curve in curves]
    reached = [evaluations for evaluations in found if evaluations is not None]
    outcome.samples = [evaluations * seconds_per_evaluation for evaluations in reached]
    outcome.evaluations = float(np.median(reached)) if reached else None
    outcome.map = np.mean(runs.maps, axis=0)
    points = sorted({evaluations for curve in curves for evaluations, _ in curve})
    outcome.quality = {
        "goal": GOAL,
        "seeds": len(curves),
        "reached": len(reached),
        "limit_evaluations": min(limits),
        "limit_reliability": reliability,
        "seconds_per_evaluation": seconds_per_evaluation,
        "correlations": {
            f"{point:.0f}": float(np.mean([value for curve in curves for at, value in curve if at == point]))
            for point in points
        },
        "precision": "bfloat16" if outcome.tool.endswith("@bf16") else "float32",
    }


def follow_trials(
    maps: np.ndarray, evaluations: np.ndarray, single: SingleRun, together: bool = False
) -> tuple[list[Curve], list[int], float]:
    """The curve of each trial, the evaluations behind its limit, and the lowest reliability of a limit.

    `maps`: (runs, h, w); `evaluations`: (runs,). `together`: a longer run is a single run, not a mean of several."""
    curves, limits, reliability = [], [], 1.0
    runs = np.arange(len(maps))
    for part in np.array_split(runs, min(TRIALS, len(runs))):
        others = np.setdiff1d(runs, part)
        limit = Limit.of(maps[others])
        reliability = min(reliability, limit.reliability)
        curve = average_one_by_one(maps[part], evaluations[part], limit)
        if curve[0][1] >= GOAL or together:
            curve = climb(single, int(part[0]), limit, curve[0])
        curves.append(curve)
        limits.append(int(evaluations[others].sum()))
    return curves, limits, reliability


def average_one_by_one(maps: np.ndarray, evaluations: np.ndarray, limit: Limit) -> Curve:
    """The curve over the first map, the mean of the first two, and so on."""
    means = np.cumsum(maps, axis=0) / np.arange(1, len(maps) + 1)[:, None, None]
    return [(float(count), limit.nearness(mean)) for count, mean in zip(np.cumsum(evaluations), means, strict=True)]


def climb(single: SingleRun, seed: int, limit: Limit, known: tuple[float, float]) -> Curve:
    """The curve of single runs with more and more masks until the goal.

    Below the masks of `known` if that point reaches the goal, else above."""
    reached = known[1] >= GOAL
    curve: Curve = [] if reached else [known]
    for masks in LADDER:
        if (masks < known[0]) is not reached:
            continue
        evaluations, found = single(masks, seed)
        curve.append((evaluations, limit.nearness(found)))
        if curve[-1][1] >= GOAL:
            return curve
    return [*curve, known] if reached else curve


def evaluations_until(goal: float, curve: Curve) -> float | None:
    """Evaluations at which the curve first reaches the goal; None if it does not.

    Between two points: linear in log(evaluations)."""
    for position, (evaluations, value) in enumerate(curve):
        if value < goal:
            continue
        if position == 0:
            return evaluations
        before, below = curve[position - 1]
        share = (goal - below) / (value - below)
        return float(before * (evaluations / before) ** share)
    return None
