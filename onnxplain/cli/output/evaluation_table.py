"""An evaluation as a table on the terminal, with the definition of each number below it."""

from __future__ import annotations

import math
import shutil
import sys
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from onnxplain.cli.output.tables import print_table
from onnxplain.cli.output.terminal import is_terminal, say

if TYPE_CHECKING:
    from onnxplain.evaluation import AnswerEvaluation, Evaluation, Result
    from onnxplain.evaluation.plan import Subject

_COLUMNS = {
    "classification": "model",
    "box": "model",
    "detection": "model",
    "center_box": "centre box",
    "center_gaussian": "centre Gaussian",
    "box_gaussian": "Gaussian in the box",
}
_OF = {"prediction": "", "box": "", "heatmap": "of a heatmap: "}
"""The prefix of each kind's definition, if one title has several definitions; in the order of printing."""


def print_evaluation(evaluation: Evaluation) -> None:
    """Print one row per metric and one column per method and baseline, each number with its interval."""
    skipped = f", {evaluation.skipped} skipped" if evaluation.skipped else ""
    say(f"{evaluation.model} on {evaluation.dataset}: {evaluation.images} images{skipped}")
    say()
    columns, cells = number_rows(evaluation)
    if not _fits(("", *columns), cells):
        cells = [tuple(cell.replace(" [", "\n[") for cell in row) for row in cells]
    for part in _columns_that_fit(("", *columns), cells):
        shown_rows = [tuple(row[at] for at in (0, *part)) for row in cells]
        names = [columns[at - 1] for at in part]
        # A row without a number in these columns says nothing here.
        print_table(("", *names), [row for row in shown_rows if any(row[1:])], numbers=names)
        say()
    for line in definition_lines(evaluation):
        say(line)


def number_rows(evaluation: Evaluation) -> tuple[tuple[str, ...], list[tuple[str, ...]]]:
    """The columns behind the first, and one row per metric: its title, then each number with its interval."""
    shown = _shown(evaluation)
    columns = tuple(dict.fromkeys(column_name(result.subject) for result in shown))
    rows: dict[str, dict[str, str]] = {}
    for result in shown:
        rows.setdefault(_title(result), {})[column_name(result.subject)] = _cell(result)
    return columns, [(title, *(row.get(column, "") for column in columns)) for title, row in rows.items()]


def _shown(evaluation: Evaluation) -> list[Result]:
    return [result for result in evaluation.results if result.estimate.value is not None]


def print_answer_evaluation(found: AnswerEvaluation) -> None:
    """Print how good a model's labels or number are, beside an answer that does not look at the image."""
    skipped = f", {found.skipped} skipped" if found.skipped else ""
    say(f"{found.model} on {found.dataset}: {found.images} images{skipped}")
    title, interval = found.metric.replace("_", " "), f"[{found.low:.3g}, {found.high:.3g}]"
    rows = [(title, f"{found.value:.3g}", interval), ("  without looking at the image", f"{found.baseline:.3g}", "")]
    rows += [(f"  {label}", f"{value:.3g}", "") for label, value in found.per_label.items()]
    print_table(("", "value", "95 % interval"), rows, numbers=("value",))


def definition_lines(evaluation: Evaluation) -> Iterator[str]:
    """What the numbers mean, and why some numbers are missing: ``name: text`` per line."""
    from onnxplain.evaluation.tally import BOOTSTRAP_REPLICATES, CONFIDENCE

    meanings: dict[str, dict[str, str]] = {}
    for result in _shown(evaluation):
        meanings.setdefault(result.metric.title, {})[result.metric.kind] = result.metric.definition
    for title, of_kinds in meanings.items():
        kinds = {of_kinds[kind]: kind for kind in reversed(_OF) if kind in of_kinds}
        texts = [f"{_OF[kind] if len(kinds) > 1 else ''}{text}" for text, kind in reversed(kinds.items())]
        yield f"{title}: {'; '.join(texts)}"
    yield (
        f"[low, high]: {100 * CONFIDENCE:.0f} % interval over images, "
        f"Poisson bootstrap of {BOOTSTRAP_REPLICATES:,} replicates, seed {evaluation.identity['seed']}"
    )
    if evaluation.identity.get("target") == "predicted":
        yield "target: all heatmaps explain the predicted class"
    reasons: dict[str, dict[str, None]] = {}
    for result in evaluation.results:
        if result.reason:
            reasons.setdefault(result.reason, {})[_missing(result)] = None
    for reason, names in reasons.items():
        yield f"no {', '.join(names)}: {reason}"


def _fits(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> bool:
    """Whether a table with intervals beside the numbers fits into the terminal."""
    return sum(_widths(columns, rows)) <= _room()


def _columns_that_fit(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> list[list[int]]:
    """The columns behind the first, divided into tables that fit into the terminal."""
    title, *widths = _widths(columns, rows)
    room = _room() - title
    parts: list[list[int]] = [[]]
    used = 0
    for position, width in enumerate(widths, 1):
        if parts[-1] and used + width > room:
            parts.append([])
            used = 0
        parts[-1].append(position)
        used += width
    return parts


def _room() -> float:
    """The columns of the terminal; without one, any table fits."""
    return shutil.get_terminal_size().columns if is_terminal(sys.stdout) else math.inf


def _widths(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> list[int]:
    """How wide each column is, with the space behind it. A cell may have several lines."""
    return [
        max(len(line) for cell in cells for line in cell.split("\n")) + 3 for cells in zip(columns, *rows, strict=True)
    ]


def _title(result: Result) -> str:
    return f"{result.metric.title} {result.metric.unit}".strip()


def column_name(subject: Subject) -> str:
    """What stands above the numbers of a subject: a method's name, the model, or a baseline."""
    name = subject.path[-1]
    return _COLUMNS.get(name, name.replace("_", " ") if subject.path[0] == "baselines" else name)


def _missing(result: Result) -> str:
    if not result.subject.absent:
        return result.metric.title
    return "predicted box" if result.subject.path == ("box",) else column_name(result.subject)


def _cell(result: Result) -> str:
    estimate = result.estimate
    assert estimate.value is not None
    factor, digits = (100, 1) if result.metric.unit == "%" else (1, 3)
    value = f"{factor * estimate.value:.{digits}f}"
    if estimate.low is None or estimate.high is None:
        return value
    low, high = (f"{factor * number:.{digits}f}" for number in (estimate.low, estimate.high))
    return f"{value} [{low}, {high}]"
