"""Pictures that are readable on white and on black pages: no background, colours of medium lightness.

Text stays text and no date is written, so the same figures give the same bytes.
"""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from benchmarks.report.measurement import TOOLS, title_of

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.axis import Axis
    from matplotlib.figure import Figure

# Contrast of at least 4 to white and to GitHub's dark page (#0d1117).
INK = "#777777"
# Colour and marker of each tool, in the order of TOOLS: they differ in colour and in shape.
STYLES = dict(
    zip(
        TOOLS,
        (
            ("#d9480f", "D"),
            (INK, "|"),
            ("#2b8acb", "o"),
            ("#2f9e5b", "s"),
            ("#b0853a", "^"),
            ("#9c6ade", "v"),
            ("#d6558c", "P"),
            ("#1f9ea8", "X"),
            ("#8a9a2b", "*"),
            ("#d9480f", "d"),
        ),
        strict=True,
    )
)
OTHER_STYLE = (INK, ".")
ROW_INCHES = 0.34

# A row of dots: its label, and the value of each tool.
Row = tuple[str, Mapping[str, float]]
# A curve: its tool, and y over x.
Curve = tuple[str, Mapping[float, float]]


def draw_ratios(rows: Sequence[Row], path: Path, reference: str, axis_label: str) -> None:
    """A row per case, a dot per tool, on a logarithmic axis; the line at 1 is the reference."""
    figure, (axis,) = open_figure(8.2, 1.15 + ROW_INCHES * len(rows), 1)
    axis.axvline(1, color=STYLES.get(reference, OTHER_STYLE)[0], linewidth=1.5, label=reference)
    for height, (_, values) in enumerate(rows):
        for tool, value in values.items():
            colour, marker = STYLES.get(tool, OTHER_STYLE)
            axis.plot([value], [height], marker, color=colour, markersize=9 if marker == "|" else 6.5, label=tool)
    axis.set_yticks(range(len(rows)), [label for label, _ in rows])
    axis.set_ylim(len(rows) - 0.5, -0.5)
    axis.set_xscale("log")
    label_powers(axis.xaxis, "×")
    axis.tick_params(axis="y", length=0)
    axis.set_xlabel(axis_label)
    axis.grid(axis="both", color=INK, alpha=0.25, linewidth=0.6)
    save(figure, [axis], path)


def draw_curves(
    panels: Mapping[str, Sequence[Curve]], path: Path, labels_xy: tuple[str, str], goal: float | None = None
) -> None:
    """A panel per title, a curve per tool, both axes logarithmic, a dotted line at the goal."""
    figure, axes = open_figure(4.1 * max(2, len(panels)), 3.3, len(panels))
    for axis, (title, curves) in zip(axes, panels.items(), strict=True):
        for tool, points in curves:
            colour, marker = STYLES.get(tool.partition("@")[0], OTHER_STYLE)
            line = "--" if "@" in tool else "-"
            axis.plot(*zip(*sorted(points.items()), strict=True), line, marker=marker, color=colour, label=tool)
        axis.set_xscale("log")
        axis.set_yscale("log")
        label_powers(axis.xaxis)
        label_powers(axis.yaxis)
        if goal is not None:
            axis.axhline(goal, color=INK, linestyle=":", label="goal")
        axis.set_title(title, color=INK, fontsize=10)
        axis.set_xlabel(labels_xy[0])
        axis.grid(color=INK, alpha=0.25, linewidth=0.6)
    axes[0].set_ylabel(labels_xy[1])
    save(figure, axes, path)


def open_figure(width: float, height: float, panels: int) -> tuple[Figure, list[Axes]]:
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), layout="constrained")
    figure.patch.set_alpha(0)
    axes = list(figure.subplots(1, panels, squeeze=False, sharey=True)[0])
    for axis in axes:
        axis.patch.set_alpha(0)
        axis.tick_params(which="both", colors=INK, labelsize=9)
        axis.xaxis.label.set_color(INK)
        axis.yaxis.label.set_color(INK)
        for spine in axis.spines.values():
            spine.set(color=INK, alpha=0.4)
    return figure, axes


def label_powers(axis: Axis, suffix: str = "") -> None:
    """Label 1, 2 and 5 of each decade as plain numbers, and no others."""
    from matplotlib.ticker import LogLocator, NullLocator

    axis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    axis.set_major_formatter(lambda value, _: f"{value:,.0f}{suffix}" if value >= 1 else f"{value:g}{suffix}")
    axis.set_minor_locator(NullLocator())


def save(figure: Figure, axes: Sequence[Axes], path: Path) -> None:
    """Save the figure with one legend for all panels: each tool once, in the order of TOOLS."""
    handles = {label: handle for axis in axes for handle, label in zip(*axis.get_legend_handles_labels(), strict=True)}
    ordered = sorted(handles, key=lambda name: (rank(name), name))
    figure.legend(
        [handles[name] for name in ordered],
        [title_of(name) for name in ordered],
        loc="outside upper center",
        ncols=min(len(ordered), 5) or 1,
        frameon=False,
        labelcolor=INK,
        fontsize=9,
    )
    write_figure(figure, path)


def write_figure(figure: Figure, path: Path) -> None:
    """Write the figure as SVG; the same figure gives the same bytes."""
    import matplotlib as mpl

    picture = io.StringIO()
    with mpl.rc_context({"svg.fonttype": "none", "svg.hashsalt": "benchmarks", "font.family": "sans-serif"}):
        figure.savefig(picture, format="svg", transparent=True, metadata={"Date": None})
    path.parent.mkdir(parents=True, exist_ok=True)
    # matplotlib ends some lines with a space.
    path.write_text("\n".join(line.rstrip() for line in picture.getvalue().splitlines()) + "\n", encoding="utf-8")


def rank(tool: str) -> int:
    base = tool.partition("@")[0]
    return TOOLS.index(base) if base in TOOLS else len(TOOLS)
