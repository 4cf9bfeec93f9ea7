"""The pictures of a report and their contents."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from benchmarks.report.cells import MEBIBYTE
from benchmarks.report.headlines import HEADLINES, headline_cases
from benchmarks.report.measurement import FLOOR, OURS, Results
from benchmarks.report.plots import Curve, Row, draw_curves, draw_ratios
from benchmarks.report.ratio import spread

ROOFLINE_GROUPS = ("grad-cam", "rise-masks", "augmented", "throughput")
MEMORY_GROUPS = {"memory-masks": "masks", "memory-images": "images"}


@dataclass(frozen=True)
class Picture:
    """A drawn file and its alternative text."""

    path: Path
    description: str

    def embed(self, folder: str) -> str:
        return f"![{self.description}]({folder}/{self.path.name})\n"


def draw_pictures(results: Results, folder: Path) -> dict[str, Picture]:
    """The drawn pictures, by their place on the page; a picture without figures is not drawn."""
    drawn: dict[str, Picture] = {}
    if rows := ratio_rows(results, headline_rows(results), OURS):
        picture = Picture(folder / "benchmarks.svg", "What each tool takes over what onnxplain takes, by case")
        draw_ratios(rows, picture.path, OURS, "over onnxplain (right of the line: slower, or larger)")
        drawn["overview"] = picture
    if rows := ratio_rows(results, roofline_rows(results), FLOOR):
        picture = Picture(folder / "benchmarks-roofline.svg", "What each tool takes over the raw forward passes")
        draw_ratios(rows, picture.path, FLOOR, "over the raw forward passes on ONNX Runtime")
        drawn["roofline"] = picture
    if panels := memory_curves(results):
        picture = Picture(folder / "benchmarks-memory.svg", "Peak memory over masks and over images")
        draw_curves(panels, picture.path, ("count", "peak memory, MiB"))
        drawn[next(group for group in reversed(MEMORY_GROUPS) if results.cases(group))] = picture
    if panels := quality_curves(results):
        picture = Picture(folder / "benchmarks-quality.svg", "How far each map is from its own limit, over evaluations")
        draw_curves(panels, picture.path, ("evaluations", "1 − correlation with its own limit"), quality_goal(results))
        drawn["rise-quality"] = picture
    return drawn


def headline_rows(results: Results) -> dict[str, str]:
    return {case: HEADLINES[case] for case in headline_cases(results)}


def roofline_rows(results: Results) -> dict[str, str]:
    return {case: case for group in ROOFLINE_GROUPS for case in results.cases(group)}


def ratio_rows(results: Results, labels: dict[str, str], reference: str) -> list[Row]:
    """The ratios by case; only cases in which another tool than the reference has one."""
    rows: list[Row] = []
    for case, label in labels.items():
        ratios = {
            entry.tool: ratio.median
            for entry in results.of(case)
            if entry.tool == entry.base_tool != reference
            and (ratio := results.compare(case, entry.tool, reference)) is not None
        }
        if ratios:
            rows.append((label, ratios))
    return rows


def memory_curves(results: Results) -> dict[str, list[Curve]]:
    """For each group and model, the peak over the count, which is the last part of the case's name."""
    panels: dict[str, dict[str, dict[float, float]]] = {}
    for group, what in MEMORY_GROUPS.items():
        for case in results.cases(group):
            _, model, count = case.split("/")
            for entry in results.of(case):
                if entry.samples:
                    curves = panels.setdefault(f"{what}, {model}", {})
                    curves.setdefault(entry.tool, {})[float(count)] = spread(entry.samples).median / MEBIBYTE
    return {title: list(curves.items()) for title, curves in panels.items()}


def quality_curves(results: Results) -> dict[str, list[Curve]]:
    panels: dict[str, list[Curve]] = {}
    for case in results.cases("rise-quality"):
        for entry in results.of(case):
            if correlations := (entry.quality or {}).get("correlations"):
                points = {float(count): 1 - correlation for count, correlation in correlations.items()}
                panels.setdefault(entry.label, []).append((entry.tool, points))
    return panels


def quality_goal(results: Results) -> float:
    """The largest distance from its limit at which a map reaches the goal."""
    goals: list[float] = [entry.quality["goal"] for entry in results.measurements if entry.quality is not None]
    return 1 - max(goals)
