"""Figures as text, and rows of text as a Markdown table."""

from __future__ import annotations

import textwrap
from collections.abc import Mapping, Sequence
from typing import Any

from benchmarks.report.ratio import Ratio, Spread

TIMES = ((1.0, "s"), (1e-3, "ms"), (1e-6, "µs"))
MEBIBYTE, GIBIBYTE = 2**20, 2**30
NOTHING = "–"
ALIKE = 0.9


def write_quantity(value: float, unit: str) -> str:
    """`44.2 ms`, `295 MiB`, `22.4 images/s`: three digits."""
    if unit == "s":
        return write_scaled(value, *time_scale(value))
    if unit == "bytes":
        return write_scaled(value, MEBIBYTE, "MiB")
    return write_scaled(value, 1.0, unit)


def write_spread(measured: Spread, unit: str) -> str:
    """The median with its quartiles in the median's unit: `44.2 ms [43.9, 44.8]`."""
    text = write_quantity(measured.median, unit)
    if measured.count == 1:
        return text
    scale = {"s": time_scale(measured.median)[0], "bytes": float(MEBIBYTE)}.get(unit, 1.0)
    return f"{text} [{three_digits(measured.lower / scale)}, {three_digits(measured.upper / scale)}]"


def write_ratio(ratio: Ratio | None) -> str:
    """`1.015 [1.006, 1.025]`; without the interval if there is none."""
    if ratio is None:
        return NOTHING
    text = ratio_digits(ratio.median)
    return text if ratio.low == ratio.high else f"{text} [{ratio_digits(ratio.low)}, {ratio_digits(ratio.high)}]"


def write_agreement(agreement: Mapping[str, Any] | None) -> str:
    """`0.9998, 2e-06 (torch)`: correlation, largest relative difference, and the other tool.

    The difference is left out for maps that are not similar, for example of different masks: it says nothing there.
    """
    if agreement is None:
        return NOTHING
    correlation, difference = agreement["correlation"], agreement["max_relative_difference"]
    figures = [f"{correlation:.4f}"]
    if difference is not None and correlation > ALIKE:
        figures.append(f"{difference:.0e}")
    return f"{', '.join(figures)} ({agreement['with']})"


def wrap(sentence: str) -> str:
    """A paragraph in lines of the project's length."""
    return textwrap.fill(sentence, 120, break_long_words=False, break_on_hyphens=False) + "\n"


def write_table(headings: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A Markdown table without empty columns; an empty text if there are no rows."""
    if not rows:
        return ""
    kept = [index for index in range(len(headings)) if any(row[index] not in ("", NOTHING) for row in rows)]
    lines = [[headings[index] for index in kept], ["---"] * len(kept)]
    lines += [[row[index].replace("|", "\\|") for index in kept] for row in rows]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in lines) + "\n"


def time_scale(seconds: float) -> tuple[float, str]:
    return next((entry for entry in TIMES if seconds >= entry[0]), TIMES[-1])


def write_scaled(value: float, scale: float, unit: str) -> str:
    return f"{three_digits(value / scale)} {unit}"


def three_digits(value: float) -> str:
    return f"{value:,.0f}" if value >= 99.95 else f"{value:#.3g}".rstrip(".")


def ratio_digits(value: float) -> str:
    """Three decimals near 1, where the goals are; three digits further away."""
    return f"{value:.3f}" if value < 2 else three_digits(value)
