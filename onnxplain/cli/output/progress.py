"""A progress bar on standard error, shown only on a terminal."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from onnxplain.cli.output.terminal import is_terminal, printable, say
from onnxplain.explanations.progress_display import ProgressDisplay

if TYPE_CHECKING:
    from rich.progress import Progress, TaskID


class Bar(ProgressDisplay):
    """Shows the steps that are done and the share of the current step. Without a display it does nothing."""

    def __init__(self, display: Progress | None = None, task: TaskID | None = None) -> None:
        self._display, self._task, self._done = display, task, 0

    def expect(self, steps: int) -> None:
        """Set the number of all steps."""
        if self._display is not None and self._task is not None:
            self._display.update(self._task, total=steps)

    def step(self) -> None:
        """Count one more step as done."""
        self._done += 1
        self._show(0.0, None)

    def reach(self, done: int) -> None:
        """Set the number of steps that are done."""
        self._done = done
        self._show(0.0, None)

    def within(self, done: int, total: int) -> None:
        """Show that `done` of `total` parts of the current step are done."""
        self._show(done / total, None)

    def say(self, text: str) -> None:
        """Show a text about the current step."""
        self._show(0.0, printable(text))

    def echo(self, line: str, *, err: bool = False) -> None:
        """Print a line on standard output, or on standard error, above the bar."""
        if self._display is not None and (err or is_terminal(sys.stdout)):
            # The line goes to the terminal that shows the bar. Only the bar's console can print above it.
            self._display.console.print(printable(line), soft_wrap=True, markup=False, highlight=False)
        else:
            say(line, err=err)

    def _show(self, share: float, text: str | None) -> None:
        if self._display is None or self._task is None:
            return
        self._display.update(self._task, completed=self._done + share)
        if text is not None:
            self._display.update(self._task, description=text)


@contextmanager
def progress_bar(*, quiet: bool = False) -> Iterator[Bar]:
    """A bar that is shown inside the context and disappears at its end."""
    if quiet or not is_terminal(sys.stderr):
        yield Bar()
        return
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (
        BarColumn(),
        TextColumn("{task.percentage:3.0f} %"),
        TimeRemainingColumn(),
        # File names are no markup.
        TextColumn("{task.description}", markup=False),
    )
    with Progress(*columns, console=Console(stderr=True), transient=True, redirect_stdout=False) as display:
        yield Bar(display, display.add_task("", total=None))
