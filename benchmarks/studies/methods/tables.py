"""The tables of the study in Markdown."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from benchmarks.report.cells import NOTHING, write_table
from benchmarks.studies.methods.blind import BLIND
from benchmarks.studies.methods.statistics import difference, max_box_accuracy, mean_of, mean_ranks
from benchmarks.studies.methods.study_results import CURVES, REFERENCE, StudyResults
from benchmarks.studies.methods.ways import BUDGETS, MAIN
from onnxplain.evaluation.tally import Estimate

BETTER, WORSE = "↑", "↓"
# Fewer images get no arrow, and no row of boxes.
LEAST_IMAGES = 4
LEAST_DIFFERENCE = 0.01
HEADINGS = {
    "insertion_mean": "insertion, mean colour",
    "insertion_blur": "insertion, blur",
    "deletion_mean": "deletion, mean colour",
    "deletion_blur": "deletion, blur",
}


def ranked(results: StudyResults) -> list[str]:
    """The rows, best first, by their mean relative rank over the models; those without all models last."""
    columns = {
        model.name: {
            name: mean_of(gains).value or 0.0 for name in results.names if (gains := results.gains(model.name, name))
        }
        for model in results.models
    }
    ranks = mean_ranks(columns)
    return sorted(ranks, key=lambda name: (not all(name in column for column in columns.values()), ranks[name]))


def summary_table(results: StudyResults) -> str:
    """Insertion − deletion of every row on every model, marked where it differs from the reference."""
    rows = []
    for name in ranked(results):
        cells = [code(name), results.family(name), evaluations_of(results, name)]
        for model in results.models:
            gains, reference = results.gains(model.name, name), results.gains(model.name, REFERENCE)
            cells.append(f"{interval(mean_of(gains))}{mark(difference(gains, reference))}" if gains else NOTHING)
        rows.append(cells)
    return write_table(["method", "reads", "evaluations", *(model.title for model in results.models)], rows)


def winners(results: StudyResults, reference: str, sign: int = 1) -> list[str]:
    """The rows of all models that are better (−1: worse) than the reference beyond the interval on every one."""
    arrow = f" {BETTER if sign > 0 else WORSE}"
    return [
        name
        for name in ranked(results)
        if all(
            mark(difference(results.gains(model.name, name), results.gains(model.name, reference))) == arrow
            for model in results.models
        )
    ]


def curves_table(results: StudyResults, model: str) -> str:
    """The four areas of every row."""
    rows = []
    for name in ranked(results):
        budget = results.budget(name)
        found = [results.values("map", model, name, budget, field) for field in CURVES]
        if found[0]:
            rows.append([code(name), *(interval(mean_of(values)) for values in found)])
    return write_table(["method", *HEADINGS.values()], rows)


def boxes_table(results: StudyResults) -> str:
    """Pointing, energy and MaxBoxAcc of every row on every model, percent."""
    rows, headings = [], ["method"]
    for model in results.models:
        headings += [f"{model.title}: pointing", "energy", "MaxBoxAcc"]
    for name in ranked(results):
        cells = [code(name)]
        for model in results.models:
            pointing, energy, hits = (results.boxes(model.name, name, each) for each in ("pointing", "energy", "hits"))
            enough = len(hits) >= LEAST_IMAGES
            found = [mean_of(pointing), mean_of(energy), max_box_accuracy(hits)] if enough else []
            cells += [percent(each) for each in found] or [NOTHING] * 3
        rows.append(cells)
    return write_table(headings, rows)


def budgets_table(results: StudyResults) -> str:
    """What 100 and 1,600 evaluations change over 400: the difference on the same images."""
    rows, others = [], [budget for budget in BUDGETS if budget != MAIN]
    for name in ranked(results):
        if results.budgets(name) != BUDGETS:
            continue
        cells = [code(name)]
        for model in results.models:
            main = results.gains_at(model.name, name, MAIN)
            for budget in others:
                found = difference(results.gains_at(model.name, name, budget), main)
                cells.append(f"{interval(found)}{mark(found)}")
        rows.append(cells)
    headings = ["method", *(f"{model.title}: {budget:,}" for model in results.models for budget in others)]
    return write_table(headings, [row for row in rows if any(cell != NOTHING for cell in row[1:])])


def trust_table(results: StudyResults, model: str) -> str:
    """Nearness to the own limit, likeness across seeds and to shuffled weights, cost."""
    rows = []
    for name in ranked(results):
        budget = results.budget(name)
        near = [row["near"] for row in results.of("limit", model, name, limit_of(results, name))]
        cells = [code(name)]
        cells += [decimal(mean_of(dict(enumerate_names([each[str(budget)] for each in near])))) for budget in BUDGETS]
        cells.append(interval(mean_of(results.values("seed", model, name, budget, "rank"))))
        for field in ("rank", "ssim"):
            cells.append(interval(mean_of(results.values("shuffled", model, name, budget, field))))
        cells += costs(results, model, name, budget)
        rows.append(cells)
    near_headings = [f"near its limit: {BUDGETS[0]}", *(str(budget) for budget in BUDGETS[1:])]
    more = ["two seeds", "shuffled weights: rank", "SSIM", "seconds", "forward passes"]
    return write_table(["method", *near_headings, *more], [row for row in rows if any(c != NOTHING for c in row[1:])])


def costs(results: StudyResults, model: str, name: str, budget: int | None) -> list[str]:
    """Median processor seconds, and the same in forward passes of one image."""
    rows = [row for row in results.of("map", model, name, budget) if "seconds" in row]
    if not rows:
        return [NOTHING, NOTHING]
    passes = [row["seconds"] / row["forward_seconds"] for row in rows]
    return [f"{np.median([row['seconds'] for row in rows]):.3g}", f"{np.median(passes):,.0f}"]


def refusals_table(results: StudyResults) -> str:
    """What did not work, and why."""
    found: dict[tuple[str, str], str] = {}
    for row in results.rows:
        if "refused" in row:
            found.setdefault((row["way"], row["model"]), row["refused"])
    titles = {model.name: model.title for model in results.models}
    rows = [[code(way), titles[model], reason] for (way, model), reason in sorted(found.items())]
    return write_table(["method", "model", "reason"], rows)


def evaluations_of(results: StudyResults, name: str) -> str:
    """The evaluations at the main budget, from the least to the most."""
    if name in BLIND:
        return "0"
    found = [
        row["evaluations"]
        for model in results.models
        for row in results.of("map", model.name, name, results.budget(name))
    ]
    return NOTHING if not found else " to ".join(f"{each:,}" for each in sorted({min(found), max(found)}))


def limit_of(results: StudyResults, name: str) -> int | None:
    return None if name in BLIND else results.ways[name].limit


def enumerate_names(values: Sequence[float]) -> Mapping[str, float]:
    return {str(number): value for number, value in enumerate(values)}


def code(name: str) -> str:
    """The method's name as code; a variant and a blind map as they are."""
    method, space, rest = name.partition(" (")
    return name if name in BLIND else f"`{method}`{space}{rest}"


def mark(found: Estimate) -> str:
    """An arrow where the interval of the difference does not hold 0; none for small ones, and for very few images."""
    if found.value is None or found.low is None or found.high is None:
        return ""
    if found.count < LEAST_IMAGES or abs(found.value) < LEAST_DIFFERENCE or found.low <= 0 <= found.high:
        return ""
    return f" {BETTER if found.low > 0 else WORSE}"


def interval(found: Estimate) -> str:
    if found.value is None:
        return NOTHING
    return f"{found.value:.2f} [{found.low:.2f}, {found.high:.2f}]"


def decimal(found: Estimate) -> str:
    return NOTHING if found.value is None else f"{found.value:.2f}"


def percent(found: Estimate) -> str:
    if found.value is None or found.low is None or found.high is None:
        return NOTHING
    return f"{100 * found.value:.0f} [{100 * found.low:.0f}, {100 * found.high:.0f}]"
