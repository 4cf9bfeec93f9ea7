"""The HTML page of an evaluation: its numbers as tables, its curves, and the images with the lowest values."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import click

from onnxplain.cli.options.gather import stack
from onnxplain.cli.options.page import read_page
from onnxplain.cli.output.evaluation_table import column_name, definition_lines, number_rows

if TYPE_CHECKING:
    from onnxplain.cli.output.progress import Bar
    from onnxplain.evaluation import Evaluation
    from onnxplain.report.evaluation_images import EvaluatedModel
    from onnxplain.report.page_file import Table

_MOST_LEFT_OUT = 50

report_options = stack(
    click.option(
        "--report",
        type=click.Path(path_type=Path, dir_okay=False),
        callback=read_page,
        metavar="REPORT.html",
        help="Also write an HTML page with numbers, curves and the images with the lowest values (extra `report`).",
    ),
    click.option(
        "--report-images",
        type=click.IntRange(min=0),
        default=50,
        show_default=True,
        metavar="N",
        help="How many images the page shows, lowest values first: wrong answers, then the lowest IoU with a true box, "
        "or the lowest insertion; of a detector, most missed boxes and wrong detections, then the least energy.",
    ),
)


@dataclass(frozen=True)
class PageArguments:
    """The page to write, if any, and how many images it shows."""

    report: Path | None
    report_images: int

    def refuse(self, kind: str) -> None:
        """Raise click.UsageError if a page was asked for and no map is measured: of a default head of this kind."""
        if self.report is not None:
            without = "numbers have none to measure" if kind == "values" else "name a method with -m"
            raise click.UsageError(
                f"found --report where the answers of a head of {kind} are measured, expected maps: {without}"
            )


def write_evaluation_page(
    path: Path, most_images: int, model: EvaluatedModel, evaluation: Evaluation, results: Path, bar: Bar
) -> None:
    """Write the page of an evaluation whose folder is `results`. Its lowest images are explained again."""
    from onnxplain.evaluation.journal import read_rows
    from onnxplain.evaluation.matching import match_labels
    from onnxplain.explanations.verify_folder import read_run
    from onnxplain.report.detection_images import explain_detections, worst_rows
    from onnxplain.report.evaluation_images import explain_rows, lowest_rows
    from onnxplain.report.evaluation_plots import evaluation_plots
    from onnxplain.report.folder_report import report_of
    from onnxplain.report.page_file import write_report

    engine, dataset = model.opened.engine, model.dataset
    boxes = engine.detector is not None
    choose = worst_rows if boxes else lowest_rows
    rows = choose(read_rows(results), most_images if model.methods else 0)
    bar.reach(0)
    with tempfile.TemporaryDirectory(prefix="onnxplain-evaluate-") as scratch:
        folder = Path(scratch) / "run"
        if boxes:
            remarks = explain_detections(model, evaluation, rows, folder, bar)
        else:
            class_ids = match_labels(engine, dataset) if evaluation.identity["target"] == "label" else None
            remarks = explain_rows(model, evaluation, rows, class_ids, folder, bar)
        plots = evaluation_plots(evaluation.curves, lambda curve: column_name(curve.subject))
        title = f"{Path(evaluation.model).name} on {evaluation.dataset}"
        findings = list(_tables(evaluation, results, len(rows)))
        write_report(report_of([read_run(folder)], title, findings, remarks, plots), path)


def _tables(evaluation: Evaluation, results: Path, shown: int) -> Iterator[Table]:
    from onnxplain.evaluation.journal import read_rows
    from onnxplain.report.page_file import Table

    columns, rows = number_rows(evaluation)
    skipped = f", {evaluation.skipped} left out" if evaluation.skipped else ""
    images = f"{evaluation.images} images{skipped}; the {shown} with the lowest values are below"
    yield Table(f"Numbers with 95 % intervals: {images}", ("number", *columns), rows)
    meanings = [tuple(line.split(": ", 1)) for line in definition_lines(evaluation)]
    yield Table("What the numbers mean", ("number", "meaning"), meanings, folded=True)
    problems = [row["problem"] for row in read_rows(results) if "problem" in row][:_MOST_LEFT_OUT]
    if problems:
        yield Table("Left out", ("file", "reason"), [(Path(each["path"]).name, each["message"]) for each in problems])
