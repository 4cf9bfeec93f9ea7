"""Tables and JSON on standard output."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable, Sequence
from typing import Any

import click

# Wider than any table: without a terminal, for example in a pipe, lines must not be cut.
_UNLIMITED_WIDTH = 10_000


def print_table(columns: Sequence[str], rows: Iterable[Sequence[str]], numbers: Sequence[str] = ()) -> None:
    """Print a table; the columns named in `numbers` are aligned to the right."""
    from rich.box import SIMPLE_HEAD
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table(box=SIMPLE_HEAD, pad_edge=False, show_edge=False)
    for column in columns:
        table.add_column(column, justify="right" if column in numbers else "left", overflow="fold")
    for row in rows:
        table.add_row(*(Text(cell) for cell in row))
    Console(width=None if sys.stdout.isatty() else _UNLIMITED_WIDTH, highlight=False).print(table)


def print_json(tree: Any) -> None:
    """Print one JSON value."""
    click.echo(json.dumps(tree, indent=2, ensure_ascii=False, allow_nan=False))


def box_text(box_xyxy: Sequence[float] | None) -> str:
    """A box as text: whole pixels ``x1,y1,x2,y2``; a dash if there is none."""
    return "–" if box_xyxy is None else ",".join(f"{side:.0f}" for side in box_xyxy)
