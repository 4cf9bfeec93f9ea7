"""The results of all images as a flat table, one line per image."""

from __future__ import annotations

import csv
import os
from collections.abc import Iterable
from pathlib import Path

from onnxplain.errors import OnnxplainError
from onnxplain.evaluation.journal import Row
from onnxplain.evaluation.plan import Plan, lookup

_HEAD = ("index", "image", "label", "predicted", "score")


def write_image_table(path: Path, plan: Plan, rows: Iterable[Row]) -> None:
    """Write a CSV: what each metric gave for each image, truth values as 1 and 0, nothing where it does not count.

    Metrics over all levels have no single value per image and stand in images.jsonl alone; images that were skipped
    are left out. The file is whole or not there. Raises OnnxplainError where it cannot be written.
    """
    columns = [
        (*subject.path, metric.column)
        for subject in plan
        for metric in subject.measured
        if metric.statistic.length == 1
    ]
    temporary = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        with temporary.open("w", encoding="utf-8", newline="") as file:
            writer = csv.writer(file, lineterminator="\n")
            writer.writerow([*_HEAD, *(".".join(column[-2:]) for column in columns)])
            for row in rows:
                if "problem" not in row:
                    values = [lookup(row, column) for column in columns]
                    writer.writerow([*(row[name] for name in _HEAD), *map(_cell, values)])
        temporary.replace(path)
    except OSError as error:
        raise OnnxplainError(f"{path}: cannot be written ({error.strerror}): make room") from error
    finally:
        temporary.unlink(missing_ok=True)


def _cell(value: object) -> object:
    return int(value) if isinstance(value, bool) else "" if value is None else value
