"""Goals met and missed, cases where another tool is ahead, and ratios to the floor."""

from __future__ import annotations

from benchmarks.report.cells import NOTHING, write_quantity, write_ratio, write_table
from benchmarks.report.goals import GOALS, Goal
from benchmarks.report.measurement import FLOOR, OURS, Measurement, Results
from benchmarks.report.ratio import Ratio, spread
from benchmarks.report.remarks import Remark, find_reason
from benchmarks.report.sections import why_missing


def write_goals(results: Results, remarks: tuple[Remark, ...]) -> str:
    """Each goal with its ratio; a missed goal with the reason."""
    rows = []
    for goal in GOALS:
        ratio = goal.measure(results)
        rows.append(
            [
                goal.name,
                name_sides(goal),
                f"{goal.bound} {goal.limit:g}",
                write_ratio(ratio),
                judge(results, goal, ratio, remarks),
            ]
        )
    return write_table(["goal", "ratio", "bound", "measured", "met"], rows)


def count_goals(results: Results) -> tuple[int, int, int]:
    """The number of goals that are met, that are measured, and of all."""
    measured = [(goal, ratio) for goal in GOALS if (ratio := goal.measure(results)) is not None]
    return sum(goal.is_met(ratio) for goal, ratio in measured), len(measured), len(GOALS)


def name_sides(goal: Goal) -> str:
    if goal.other_case is not None:
        return " / ".join(case.rpartition("/")[2] for case in (goal.case, goal.other_case))
    return f"{goal.ours} / {goal.tool}" if goal.bound == "at most" else f"{goal.tool} / {goal.ours}"


def judge(results: Results, goal: Goal, ratio: Ratio | None, remarks: tuple[Remark, ...]) -> str:
    if ratio is not None:
        return "yes" if goal.is_met(ratio) else f"**no**: {find_reason(remarks, goal.case, goal.tool)}"
    sides = ((goal.case, goal.ours), (goal.other_case or goal.case, goal.tool))
    for case, tool in sides:
        entry = results.find(case, tool)
        if entry is None:
            return f"not measured: {tool} was not asked"
        if not entry.is_complete:
            return f"not measured: {tool}: {why_missing(entry)}"
    return "not measured: never in the same rounds"


def find_losses(results: Results) -> list[tuple[Measurement, Ratio]]:
    """Every peer that is faster than onnxplain, with the whole interval of its ratio below 1."""
    losses = []
    for entry in results.measurements:
        if entry.is_peer:
            ratio = results.compare(entry.case, entry.tool, OURS)
            if ratio is not None and ratio.high < 1:
                losses.append((entry, ratio))
    return losses


def write_losses(results: Results, remarks: tuple[Remark, ...]) -> str:
    rows = [
        [entry.case, entry.tool, write_ratio(ratio), find_reason(remarks, entry.case, entry.tool)]
        for entry, ratio in find_losses(results)
    ]
    return write_table(["case", "tool", f"over {OURS}", "why"], rows) or "Nowhere in these results.\n"


def write_roofline(results: Results) -> str:
    """Each case with a floor, ordered by onnxplain's ratio to it (largest first), with the nearest other tool."""
    rows = []
    for case in dict.fromkeys(entry.case for entry in results.measurements if entry.kind in ("time", "quality")):
        ours = results.compare(case, OURS, FLOOR)
        floor = results.find(case, FLOOR)
        if ours is None or floor is None or not floor.samples:
            continue
        others = {
            entry.tool: ratio
            for entry in results.of(case)
            if entry.is_peer and (ratio := results.compare(case, entry.tool, FLOOR)) is not None
        }
        nearest = min(others, key=lambda tool: others[tool].median, default=None)
        count = f"{floor.evaluations:,.0f}" if floor.evaluations else NOTHING
        cells = [case, count, write_quantity(spread(floor.samples).median, floor.unit), write_ratio(ours)]
        rows.append((ours.median, [*cells, f"{nearest} {write_ratio(others[nearest])}" if nearest else NOTHING]))
    rows.sort(key=lambda row: -row[0])
    headings = ["case", "evaluations", "floor", f"{OURS} over it", "nearest other tool over it"]
    return write_table(headings, [cells for _, cells in rows])
