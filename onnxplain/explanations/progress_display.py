"""What shows how far the work has come: a bar on a terminal, a page, or nothing."""

from __future__ import annotations

from typing import Protocol


class ProgressDisplay(Protocol):
    """Steps that are done, and the share of the current step. One step is one question about one image."""

    def expect(self, steps: int) -> None:
        """How many steps there will be."""

    def say(self, text: str) -> None:
        """What the current step is about."""

    def within(self, done: int, total: int) -> None:
        """`done` of `total` parts of the current step are done; methods that take a progress callback call it."""

    def step(self) -> None:
        """One more step is done."""
