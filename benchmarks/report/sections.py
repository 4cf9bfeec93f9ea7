"""A group of cases as a table, followed by a table of what was not measured."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import groupby
from typing import Any

from benchmarks.report.cells import (
    NOTHING,
    wrap,
    write_agreement,
    write_quantity,
    write_ratio,
    write_spread,
    write_table,
)
from benchmarks.report.measurement import FLOOR, OURS, Measurement, Results, tool_rank
from benchmarks.report.ratio import spread


@dataclass(frozen=True)
class Group:
    """Title and text above a group's table, and the tools that ratios refer to."""

    title: str
    lead: str = ""
    baselines: tuple[str, ...] = (OURS, FLOOR)


GROUPS = {
    "grad-cam": Group("Grad-CAM", "At the last convolution, or the last block's first normalisation in ViT-S."),
    "rise-masks": Group("RISE, equal masks", "Every tool draws its own masks, the same number of them."),
    "rise-quality": Group(
        "RISE, equal quality",
        "How long a tool needs until the correlation with its own limit reaches the goal. The limit is the mean of its "
        "runs over other seeds, so no run is compared with itself. The variance left in the limit is divided out "
        "(Spearman-Brown, from its two halves). The seconds are those evaluations at the tool's mean speed over all "
        "its runs. If one run is not enough, the runs of a tool are averaged; for independent masks this equals a "
        "longer run. onnxplain draws its masks together, so it makes single longer runs. The floor is the raw forward, "
        "as often as the tool called it.",
    ),
    "augmented": Group(
        "Augmented Grad-CAM",
        "`resnet50` is the whole method, including the network on 100 copies. `solve` is only the step from 100 maps "
        "to one.",
    ),
    "cold-start": Group(
        "Cold start", "A script for each tool, and for onnxplain also the command line. Files are in the page cache."
    ),
    "import-time": Group("Import"),
    "installed-size": Group(
        "Installed size", "Without pip and setuptools, and without packages that only these measurements need."
    ),
    "memory-masks": Group("Peak memory over masks"),
    "memory-images": Group("Peak memory over images"),
    "throughput": Group("Throughput"),
    "overhead": Group(
        "The gradient branch, closed and open",
        "The explainable file. The floor is the original file with the same session options. Closed: a plain "
        "prediction. Open: also feature maps and gradients.",
    ),
    "depth": Group(
        "Gradient cost by depth",
        "Forward and gradient at one layer. The floor is the forward pass of the plain file; `torch@forward` is that "
        "of PyTorch.",
        (OURS, FLOOR, "torch@forward"),
    ),
    "boxes": Group("Boxes of a heatmap"),
    "gpu": Group("On a GPU"),
}
PAGE_ORDER = tuple(GROUPS)


def describe(group: str) -> Group:
    """The row of a group; a group without a row has its name as title."""
    return GROUPS.get(group, Group(group))


def order_groups(results: Results) -> list[str]:
    """The groups of the table first, in its order."""
    return sorted(results.groups(), key=lambda name: PAGE_ORDER.index(name) if name in PAGE_ORDER else len(PAGE_ORDER))


def write_section(results: Results, group: str, machines: dict[str, int]) -> str:
    about, cases = describe(group), results.cases(group)
    entries = [entry for case in cases for entry in results.of(case)]
    parts = [f"### {about.title}\n", wrap(about.lead) if about.lead else "", write_regions(entries)]
    if measured := [entry for entry in entries if entry.samples]:
        parts.append(write_measured(results, measured, about.baselines))
    if missing := [entry for entry in entries if not entry.samples]:
        parts.append(write_missing(missing))
    if len(machines) > 1:
        numbers = sorted({machines[machine_key(entry)] for entry in entries})
        parts.append(f"Machine {', '.join(map(str, numbers))}.\n")
    return "\n".join(part for part in parts if part)


def write_regions(entries: list[Measurement]) -> str:
    regions = dict.fromkeys(entry.region for entry in entries if entry.region)
    return wrap(f"Measured: {'; '.join(regions)}.") if regions else ""


def write_measured(results: Results, entries: list[Measurement], baselines: tuple[str, ...]) -> str:
    headings = ["case", "tool", "evaluations", "median [quartiles]", *(f"over {name}" for name in baselines)]
    headings += ["agreement (with)", "rounds", "note"]
    rows, previous = [], None
    for entry in entries:
        measured = spread(entry.samples)
        ratios = [
            NOTHING if entry.tool in (name, FLOOR) else write_ratio(results.compare(entry.case, entry.tool, name))
            for name in baselines
        ]
        rows.append(
            [
                entry.label if entry.case != previous else "",
                entry.tool,
                f"{entry.evaluations:,.0f}" if entry.evaluations is not None else NOTHING,
                write_spread(measured, entry.unit),
                *ratios,
                write_agreement(entry.agreement),
                str(measured.count),
                write_note(entry),
            ]
        )
        previous = entry.case
    return write_table(headings, rows)


def write_note(entry: Measurement) -> str:
    quality = entry.quality or {}
    parts = [entry.note, quality.get("precision")]
    if quality:
        parts.append(write_reached(quality))
    return "; ".join(part for part in parts if part) or NOTHING


def why_missing(entry: Measurement) -> str:
    """Why there is no number."""
    if entry.error:
        return entry.error
    return write_reached(entry.quality) if entry.quality else "no sample and no reason in the results"


def write_reached(quality: Mapping[str, Any]) -> str:
    return f"reached {quality['goal']} in {quality['reached']} of {quality['seeds']} trials"


def write_missing(entries: list[Measurement]) -> str:
    """One row for each tool and reason."""
    ordered = sorted(entries, key=lambda entry: (tool_rank(entry), why_missing(entry)))
    rows = [
        [tool, ", ".join(entry.label for entry in those), reason]
        for (tool, reason), those in (
            (key, list(group)) for key, group in groupby(ordered, key=lambda entry: (entry.tool, why_missing(entry)))
        )
    ]
    return write_table(["not measured", "cases", "why"], rows)


def machine_key(entry: Measurement) -> str:
    """A key that is different for each machine."""
    return repr(sorted(entry.machine.items()))


def typical(entry: Measurement) -> str:
    """The median with its unit."""
    return write_quantity(spread(entry.samples).median, entry.unit)
