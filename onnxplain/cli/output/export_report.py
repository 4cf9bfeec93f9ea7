"""The printed report of an export or instrumentation."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING

from onnxplain.cli.output.describe import describe_spec, layer_columns, print_description
from onnxplain.cli.output.sidecar_lines import describe_sidecars, print_problems, sidecar_tree
from onnxplain.cli.output.tables import print_json, print_table
from onnxplain.cli.output.terminal import say
from onnxplain.explanations.warning_texts import describe_saturation

if TYPE_CHECKING:
    from onnxplain.exporters import ExportReport, LayerCheck, LayerCost

REFERENCES = {
    "torch.autograd": "torch.autograd",
    "float64 differences": "finite differences, float64 on onnx.reference",
    "float32 differences": "finite differences, float32",
}


def print_report(report: ExportReport, costs: Sequence[LayerCost] = (), *, as_json: bool) -> None:
    """Print what was written, how it was checked and, if measured, what it costs; as text or as JSON."""
    if as_json:
        print_json(
            {
                "path": str(report.path),
                "spec": json.loads(report.spec.to_json()),
                "cam": str(report.cam),
                "tail": str(report.tail),
                "checks": asdict(report.checks) | {"layers": [_as_json(check) for check in report.checks.layers]},
                "steps": report.steps,
                "notes": report.notes,
                "saturation": None if report.saturation is None else asdict(report.saturation),
                "sidecars": sidecar_tree(report.read),
                "costs": [asdict(cost) for cost in costs],
            }
        )
        return
    say(f"{report.path}: written, {report.path.stat().st_size / 1e6:.2f} MB")
    print_problems(report.read)
    lines = [*describe_spec(report.spec), *describe_sidecars(report.read)]
    lines.append(("cam", str(report.cam)))
    lines.append(("tail", str(report.tail)))
    lines.append(("checked", f"original outputs differ by {report.checks.output_error:.1e} of their largest value"))
    if report.checks.float16_error is not None:
        lines.append(("checked", f"outputs in float16 differ by {report.checks.float16_error:.1e} from float32"))
    if report.checks.tail_error is not None:
        lines.append(("checked", f"the tail's outputs differ by {report.checks.tail_error:.1e}"))
    lines.extend(("changed", step) for step in report.steps)
    lines.extend(("note", note) for note in report.notes)
    if report.saturation is not None:
        lines.append(("warning", describe_saturation(report.saturation)))
    print_description(lines)
    say()
    checks = {check.layer: check for check in report.checks.layers}
    print_table(
        ("layer", "channels", "size", "gradient error", "compared with", "operators"),
        [
            (*columns, f"{check.relative_error:.1e}", REFERENCES[check.reference], ", ".join(check.operators))
            for columns in layer_columns(report.spec.gradient_layers)
            if (check := checks.get(columns[0])) is not None
        ],
        numbers=("channels", "gradient error"),
    )
    if costs:
        say()
        print_table(
            ("layer", "nodes in branch", "time closed", "time open"),
            [(cost.layer, str(cost.nodes), f"{cost.closed:.2f}", f"{cost.open:.2f}") for cost in costs],
            numbers=("nodes in branch", "time closed", "time open"),
        )
        say("closed, open: gradient switched off, on; times: median, divided by the original file's, for one image")


def _as_json(check: LayerCheck) -> dict[str, object]:
    return asdict(check) | {"reference": REFERENCES[check.reference]}
