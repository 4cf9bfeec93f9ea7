"""What `evaluate` shows while it measures, and the measurement of answers without a method."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from onnxplain.cli.output.assumptions import warn_assumed
from onnxplain.cli.output.evaluation_table import print_answer_evaluation
from onnxplain.cli.output.progress import Bar
from onnxplain.cli.output.tables import print_json
from onnxplain.cli.output.terminal import say

if TYPE_CHECKING:
    from onnxplain.data import DataSet
    from onnxplain.evaluation.journal import Row
    from onnxplain.runtime import Engine


@dataclass(frozen=True)
class AnswerArguments:
    """How the answers of labels and numbers are measured, and how the result is printed."""

    output: Path
    seed: int
    column: str | None
    strict: bool
    as_json: bool


def measure_answers(engine: Engine, records: DataSet, asked: AnswerArguments, bar: Bar) -> None:
    """Measure a model whose default head answers with labels or a number, and print the result."""
    from onnxplain.evaluation import evaluate_answers

    warn_assumed(engine.spec.input, bar.echo)

    def show(count: int, total: int, row: Row) -> None:
        bar.expect(total)
        bar.reach(count)
        show_row(bar, row)

    found = evaluate_answers(
        engine,
        records,
        column=asked.column,
        output=asked.output,
        seed=asked.seed,
        strict=asked.strict,
        on_row=show,
    )
    if asked.as_json:
        print_json(found.to_json())
        return
    print_answer_evaluation(found)
    say(f"Results per image: {asked.output}")


def show_row(bar: Bar, row: Row) -> None:
    """Say which image was measured, or print why it was left out."""
    if "problem" in row:
        problem = row["problem"]
        where = problem["path"] if problem["line"] is None else f"{problem['path']}:{problem['line']}"
        bar.echo(f"left out: {where}: {problem['message']}", err=True)
    else:
        bar.say(row["image"])
