"""The few cases in the README's table and picture."""

from __future__ import annotations

from benchmarks.report.cells import NOTHING, wrap, write_table
from benchmarks.report.measurement import FLOOR, OURS, Measurement, Results, title_of, tool_rank
from benchmarks.report.sections import typical

HEADLINES = {
    "grad-cam/resnet50/b1": "Grad-CAM, ResNet-50",
    "grad-cam/resnet50/b16": "Grad-CAM, 16 images at once",
    "grad-cam/vit_small/b1": "Grad-CAM, ViT-S/16",
    "rise-masks/mobilenetv2/1000": "RISE, 1,000 masks, MobileNetV2",
    "rise-quality/squeezenet": "RISE to a correlation of 0.98, SqueezeNet",
    "memory-masks/mobilenetv2/8000": "RISE's peak memory, 8,000 masks",
    "augmented/resnet50/100": "Augmented Grad-CAM, 100 copies",
    "augmented/solve/100": "Its solver alone, the maps given",
    "cold-start/resnet50": "Process start to first heatmap file",
    "import-time": "Import",
    "throughput/resnet50": "Many photos, ResNet-50",
    "installed-size": "Installed size",
}


def headline_cases(results: Results) -> dict[str, list[Measurement]]:
    """The measurements with samples by case, without variants of a tool."""
    found = {
        case: [entry for entry in results.of(case) if entry.samples and entry.tool == entry.base_tool]
        for case in HEADLINES
    }
    return {case: entries for case, entries in found.items() if any(entry.tool == OURS for entry in entries)}


def write_headlines(results: Results) -> str:
    """A row per case, a column per tool; ours is bold."""
    cases = headline_cases(results)
    ordered = sorted((entry for entries in cases.values() for entry in entries), key=tool_rank)
    tools = list(dict.fromkeys(entry.tool for entry in ordered))
    rows = []
    for case, entries in cases.items():
        figures = {entry.tool: typical(entry) for entry in entries}
        cells = [f"**{figures[tool]}**" if tool == OURS else figures.get(tool, NOTHING) for tool in tools]
        rows.append([HEADLINES[case], *cells])
    return write_table(["", *map(title_of, tools)], rows)


def write_overhead(results: Results) -> str:
    """Cost of the explainable file over the original one, for a plain prediction and for one with gradients."""
    ranges = {}
    for state in ("closed", "open"):
        cases = [case for case in results.cases("overhead") if case.endswith(f"/{state}")]
        ratios = [ratio.median for case in cases if (ratio := results.compare(case, OURS, FLOOR)) is not None]
        if not ratios:
            return ""
        ranges[state] = f"{min(ratios):.2f} to {max(ratios):.2f}"
    return wrap(
        f"A plain prediction with the explainable file costs {ranges['closed']} times the original. With feature maps "
        f"and gradients of the last layer it costs {ranges['open']} times the original "
        "([each file](docs/benchmarks.md#the-gradient-branch-closed-and-open))."
    )
