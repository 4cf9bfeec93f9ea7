"""An evaluation as a table on the terminal, with what each number means below it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from onnxplain.cli.tables import print_table

if TYPE_CHECKING:
    from onnxplain.evaluation import Evaluation, Result

_COLUMNS = {"classification": "model", "box": "model", "center_box": "centre box", "center_gaussian": "centre Gaussian"}


def print_evaluation(evaluation: Evaluation) -> None:
    """Print a row per metric and a column per method and baseline, each number with its interval."""
    from onnxplain.evaluation.tally import CONFIDENCE, REPLICATES

    columns: dict[str, None] = {}
    rows: dict[str, dict[str, str]] = {}
    legend: dict[str, list[str]] = {}
    reasons: dict[str, None] = {}
    for result in evaluation.results:
        column = _column(result)
        if result.reason:
            reasons[f"no {_reasoned(result, column)}: {result.reason}"] = None
        if result.subject.absent:
            continue
        columns[column] = None
        title = f"{result.metric.title} {result.metric.unit}".strip()
        rows.setdefault(title, {})[column] = _cell(result)
        meanings = legend.setdefault(result.metric.title, [])
        if result.metric.definition not in meanings:
            meanings.append(result.metric.definition)
    click.echo(
        f"{evaluation.model} on {evaluation.dataset}: {evaluation.images} images"
        + (f", {evaluation.skipped} skipped" if evaluation.skipped else "")
        + "\n"
    )
    print_table(
        ("", *columns),
        [(title, *(cells.get(column, "") for column in columns)) for title, cells in rows.items()],
        numbers=tuple(columns),
    )
    click.echo("")
    for title, meanings in legend.items():
        click.echo(f"{title}: {'; of a heatmap: '.join(meanings)}")
    click.echo(
        f"[low, high]: {100 * CONFIDENCE:.0f} % interval over images, Poisson bootstrap of {REPLICATES:,} replicates, "
        f"seed {evaluation.identity['seed']}"
    )
    if evaluation.identity["target"] == "predicted":
        click.echo("every heatmap is that of the predicted class")
    for reason in reasons:
        click.echo(reason)


def _column(result: Result) -> str:
    name = result.subject.path[-1]
    return _COLUMNS.get(name, name.replace("_", " ") if result.subject.path[0] == "baselines" else name)


def _reasoned(result: Result, column: str) -> str:
    if not result.subject.absent:
        return result.metric.title
    return "box" if column == "model" else column


def _cell(result: Result) -> str:
    estimate = result.estimate
    if estimate.value is None or estimate.low is None or estimate.high is None:
        return "–"
    factor, digits = (100, 1) if result.metric.unit == "%" else (1, 3)
    value, low, high = (f"{factor * number:.{digits}f}" for number in (estimate.value, estimate.low, estimate.high))
    return f"{value} [{low}, {high}]"
