"""Curves as the page draws them: lines from 0 to 1 on both axes, with intervals."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

PLOT_DIGITS = 4
"""How exactly a point is kept: a pixel of a plot is far more."""


@dataclass(frozen=True)
class PlotLine:
    """A line, from 0 at the left to 1 at the right, evenly spaced. `low`, `high`: its interval; empty without one."""

    name: str
    values: Sequence[float]
    low: Sequence[float] = ()
    high: Sequence[float] = ()


@dataclass(frozen=True)
class Plot:
    """Lines over one axis. `over`, `of`: what the axes mean. `peak`: whether the highest point is what counts.

    Else it is the area under the line.
    """

    title: str
    over: str
    of: str
    lines: tuple[PlotLine, ...]
    peak: bool = False

    def as_data(self) -> dict[str, Any]:
        """Plain data for the page."""
        lines = [
            {"name": line.name, **{part: _rounded(getattr(line, part)) for part in ("values", "low", "high")}}
            for line in self.lines
        ]
        return {"title": self.title, "over": self.over, "of": self.of, "peak": self.peak, "lines": lines}


def _rounded(values: Sequence[float]) -> list[float]:
    return [round(float(value), PLOT_DIGITS) for value in values]
