"""The interface of progress displays: a bar on a terminal, a web page, or nothing."""

from __future__ import annotations

from typing import Protocol


class ProgressDisplay(Protocol):
    """Shows how many steps are done, and the share of the current step. One step is one question about one image."""

    def expect(self, steps: int) -> None:
        """Set the total number of steps."""

    def say(self, text: str) -> None:
        """Show what the current step works on."""

    def within(self, done: int, total: int) -> None:
        """Show that `done` of `total` parts of the current step are done. It is the progress callback of methods."""

    def step(self) -> None:
        """Count one more step as done."""
