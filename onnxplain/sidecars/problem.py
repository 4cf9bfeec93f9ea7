"""Why something that another tool says was not used."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class SidecarProblem:
    """What `source` says, and why it was not used. `found` and `expected` are short and hold no text of the source."""

    source: str
    found: str
    expected: str


class UnusableError(Exception):
    """Raised while a sidecar is read, and turned into a `SidecarProblem` by `unless_unusable`."""

    def __init__(self, found: str, expected: str) -> None:
        super().__init__(f"found {found}, expected {expected}")
        self.found, self.expected = found, expected

    def at(self, source: str) -> SidecarProblem:
        """The problem, of a source."""
        return SidecarProblem(source, self.found, self.expected)
