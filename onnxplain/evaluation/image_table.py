"""The results of all images as a flat CSV table."""

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
    """Write a CSV with one line per record and one column per metric: booleans as 1 and 0, empty if there is no value.

    Metrics over all levels have no single value per image; they are only in images.jsonl. Skipped images are left out.
    The file is written whole or not at all. Raises OnnxplainError if it cannot be written.
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
        raise OnnxplainError(f"{path}: cannot be written ({error.strerror}): check the disk space") from error
    finally:
        temporary.unlink(missing_ok=True)


def _cell(value: object) -> object:
    return int(value) if isinstance(value, bool) else "" if value is None else value
