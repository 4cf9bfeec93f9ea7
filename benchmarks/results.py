"""The results file: JSON lines; a case at a time is appended.

A line is one tool's answer to one case. All lines of a case are written together when it is complete. So an
interrupted run leaves complete cases, and the next run with the same settings continues after them.
"""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

FORMAT = 1

Row = dict[str, Any]


class ResultsError(Exception):
    """A results file that cannot be used; the message is one line."""


def read_results(path: Path) -> list[Row]:
    """All complete lines of the file, oldest first; an incomplete last line of a killed process is dropped.

    Raises ResultsError for a missing file, another format, and lines that are not results.
    """
    if not path.exists():
        raise ResultsError(f"{path}: found no such file, expected results: run `make bench` first")
    rows = []
    # Text after the last line break is an incomplete line.
    for number, line in enumerate(path.read_text(encoding="utf-8").split("\n")[:-1], start=1):
        try:
            row = json.loads(line)
            found = row["format"]
        except (ValueError, TypeError, KeyError):
            raise ResultsError(f"{path}, line {number}: found no result, expected JSON with a format") from None
        if found != FORMAT:
            raise ResultsError(
                f"{path}, line {number}: found format {found}, expected {FORMAT}: give another file with --results"
            )
        rows.append(row)
    return rows


def append_case(path: Path, rows: Sequence[Row]) -> None:
    """Append all lines of one case in one write; they are on disk when this returns."""
    path.parent.mkdir(parents=True, exist_ok=True)
    text = "".join(json.dumps({"format": FORMAT, **row}) + "\n" for row in rows)
    with path.open("a+b") as file:
        _drop_half_line(file)
        file.write(text.encode())
        file.flush()
        os.fsync(file.fileno())


def measured(rows: Sequence[Row], run: str, case: str) -> set[str]:
    """The tools with a line in the newest block of a case in a run."""
    dates = [row["date"] for row in rows if row["run"] == run and row["case"] == case]
    return {row["tool"] for row in rows if row["run"] == run and row["case"] == case and row["date"] == max(dates)}


def _drop_half_line(file: Any) -> None:
    file.seek(0)
    content = file.read()
    whole = content.rfind(b"\n") + 1
    if whole < len(content):
        file.truncate(whole)
    file.seek(0, os.SEEK_END)
