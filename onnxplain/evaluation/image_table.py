"""The results of all images as a flat CSV table."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable
from pathlib import Path

from onnxplain.errors import OnnxplainError
from onnxplain.evaluation.journal import Row
from onnxplain.evaluation.plan import Plan, lookup
from onnxplain.files.atomic import replacing
from onnxplain.files.json_bytes import JSON_ERRORS

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
    try:
        with replacing(path) as stream:
            text = io.TextIOWrapper(stream, "utf-8", JSON_ERRORS, newline="")
            writer = csv.writer(text, lineterminator="\n")
            writer.writerow([*_HEAD, *(".".join(column[-2:]) for column in columns)])
            for row in rows:
                if "problem" not in row:
                    values = [lookup(row, column) for column in columns]
                    writer.writerow([*(row[name] for name in _HEAD), *map(_cell, values)])
            text.detach()
    except OSError as error:
        raise OnnxplainError(f"{path}: cannot be written ({error.strerror}): check the disk space") from error


def _cell(value: object) -> object:
    return int(value) if isinstance(value, bool) else "" if value is None else value
