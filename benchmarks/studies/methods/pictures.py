"""The two pictures of the study."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from benchmarks.report.plots import INK, label_powers, open_figure, write_figure
from benchmarks.studies.methods.statistics import difference
from benchmarks.studies.methods.study_results import BLIND_FAMILY, REFERENCE, StudyResults
from benchmarks.studies.methods.tables import ranked
from benchmarks.studies.methods.ways import BUDGETS

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

ROW_INCHES = 0.21
# Colour and marker of each family, as in the other pictures: they differ in colour and in shape.
STYLES: Mapping[str, tuple[str, str]] = {
    "hidden parts": ("#2b8acb", "o"),
    "feature maps": ("#d9480f", "D"),
    "gradients at pixels": ("#2f9e5b", "s"),
    "attention": ("#9c6ade", "^"),
    BLIND_FAMILY: (INK, "X"),
}
# Curves over evaluations; the first colours are those of distinct hue.
CURVE_COLOURS = ("#d9480f", "#2b8acb", "#2f9e5b", "#b0853a", "#9c6ade", "#d6558c", "#1f9ea8", "#8a9a2b")
CURVE_MARKERS = "oDs^vPX*"


def draw_gains(results: StudyResults, path: Path) -> None:
    """A row per method, a dot with its interval per model: how much better than the reference on the same images."""
    names = ranked(results)
    figure, axes = open_figure(9.2, 1.1 + ROW_INCHES * len(names), len(results.models))
    for axis, model in zip(axes, results.models, strict=True):
        axis.axvline(0, color=INK, linewidth=1.2)
        reference = results.gains(model.name, REFERENCE)
        for height, name in enumerate(names):
            found = difference(results.gains(model.name, name), reference)
            if found.value is not None:
                family = results.family(name)
                colour, marker = STYLES[family]
                axis.plot([found.low, found.high], [height, height], color=colour, linewidth=1.2, alpha=0.6)
                axis.plot([found.value], [height], marker, color=colour, markersize=5, label=family)
        axis.set_yticks(range(len(names)), names)
        axis.set_ylim(len(names) - 0.5, -0.5)
        axis.tick_params(axis="y", length=0, labelsize=8)
        axis.set_title(model.title, color=INK, fontsize=10)
        axis.set_xlabel(f"difference to {REFERENCE}")
        axis.grid(axis="both", color=INK, alpha=0.2, linewidth=0.6)
    _legend(figure, axes, list(STYLES))
    write_figure(figure, path)


def draw_budgets(results: StudyResults, path: Path) -> None:
    """A panel per model that was measured so: insertion − deletion over evaluations, and two maps that need none."""
    names = [
        name
        for name, way in results.ways.items()
        if name == way.method and (results.family(name) == "hidden parts" or name == "integrated-gradients")
    ]
    styles = dict(zip(names, zip(CURVE_COLOURS, CURVE_MARKERS, strict=False), strict=False))
    models = [model for model in results.models if results.gains_at(model.name, names[0], BUDGETS[-1])]
    if not models:
        return
    figure, axes = open_figure(9.2, 3.6, len(models))
    for axis, model in zip(axes, models, strict=True):
        images: set[str] = set()
        for name, (colour, marker) in styles.items():
            found = [results.gains_at(model.name, name, budget) for budget in BUDGETS]
            shared = set.intersection(*(set(each) for each in found))
            images |= shared
            heights = [np.mean([each[image] for image in shared]) if shared else np.nan for each in found]
            axis.plot(BUDGETS, heights, marker=marker, color=colour, markersize=5, linewidth=1.2, label=name)
        for name, line in ((REFERENCE, "--"), ("centre", ":")):
            gains = results.gains(model.name, name)
            if chosen := [gains[image] for image in sorted(images) if image in gains]:
                axis.axhline(float(np.mean(chosen)), color=INK, linestyle=line, label=name)
        axis.set_xscale("log")
        label_powers(axis.xaxis)
        axis.set_title(f"{model.title}, {len(images)} images", color=INK, fontsize=10)
        axis.set_xlabel("evaluations")
        axis.grid(color=INK, alpha=0.2, linewidth=0.6)
    axes[0].set_ylabel("insertion − deletion")
    _legend(figure, axes, [*styles, REFERENCE, "centre"])
    write_figure(figure, path)


def _legend(figure: Figure, axes: list[Axes], order: list[str]) -> None:
    handles = {label: handle for axis in axes for handle, label in zip(*axis.get_legend_handles_labels(), strict=True)}
    shown = [label for label in order if label in handles]
    figure.legend(
        [handles[label] for label in shown],
        shown,
        loc="outside upper center",
        ncols=min(len(shown), 5) or 1,
        frameon=False,
        labelcolor=INK,
        fontsize=9,
    )
