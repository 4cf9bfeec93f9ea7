"""Tables and JSON on standard output."""

from __future__ import annotations

import io
import re
import shutil
import sys
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

from onnxplain.cli.output.terminal import is_terminal, print_text, printable
from onnxplain.files.json_bytes import json_text

if TYPE_CHECKING:
    from rich.text import Text

# Wider than any table: without a terminal, for example in a pipe, lines must not be cut.
_UNLIMITED_WIDTH = 10_000
# Spaces that fill the last column, and the terminal's codes behind them.
_LINE_END = re.compile(r" +((?:\x1b\[[0-9;]*m)*)$", re.MULTILINE)


def print_table(columns: Sequence[str], rows: Iterable[Sequence[str]], numbers: Sequence[str] = ()) -> None:
    """Print a table; the columns named in `numbers` are aligned to the right."""
    from rich.box import SIMPLE_HEAD
    from rich.console import Console
    from rich.table import Table

    table = Table(box=SIMPLE_HEAD, pad_edge=False, show_edge=False)
    for column in columns:
        table.add_column(_cell(column), justify="right" if column in numbers else "left", overflow="fold")
    for row in rows:
        table.add_row(*map(_cell, row))
    terminal = is_terminal(sys.stdout)
    width = shutil.get_terminal_size().columns if terminal else _UNLIMITED_WIDTH
    drawn = io.StringIO()
    Console(file=drawn, force_terminal=terminal, width=width, highlight=False).print(table)
    print_text(_LINE_END.sub(r"\1", drawn.getvalue()))


def _cell(text: str) -> Text:
    """A cell that is no markup. Only tables break lines in it."""
    from rich.text import Text

    return Text("\n".join(map(printable, text.split("\n"))))


def print_json(tree: Any) -> None:
    """Print one JSON value."""
    print_text(f"{json_text(tree, indent=2)}\n")


def box_text(box_xyxy: Sequence[float] | None) -> str:
    """A box as text: whole pixels ``x1,y1,x2,y2``; a dash if there is none."""
    return "–" if box_xyxy is None else ",".join(f"{side:.0f}" for side in box_xyxy)
