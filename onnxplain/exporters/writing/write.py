"""Writing an explainable graph after its checks, and its tail file beside it."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import onnx

from onnxplain.exporters.checks.report import Checks
from onnxplain.exporters.checks.saturation import measure_saturation
from onnxplain.exporters.checks.tail_check import check_tail
from onnxplain.exporters.file.model_file import write_protos
from onnxplain.exporters.writing.explainable import Explainable
from onnxplain.exporters.writing.export_report import ExportReport
from onnxplain.exporters.writing.tail_file import tail_path
from onnxplain.exporters.writing.verdicts import NoTail, TailVerdict


def write_verified(
    explainable: Explainable,
    path: Path,
    original: onnx.ModelProto,
    checks: Checks,
    steps: tuple[str, ...] = (),
    notes: tuple[str, ...] = (),
) -> ExportReport:
    """Check the tail if there is one, then write the file and its tail. `original` is the file as found."""
    files, spec, tail = {path: explainable.proto}, explainable.spec, explainable.tail_file
    verdict = TailVerdict(fault=tail if isinstance(tail, NoTail) else None)
    if not isinstance(tail, NoTail) and spec.tail is not None:
        checks = replace(checks, tail_error=check_tail(tail, spec.tail, explainable.proto, spec, original))
        # The tail is written first, so that the file is never newer than the tail that it names.
        files = {tail_path(path): tail, **files}
        verdict = TailVerdict(spec.tail.file)
    saturation = measure_saturation(original, explainable.proto, spec)
    write_protos(files)
    return ExportReport(
        path,
        spec,
        explainable.cam,
        verdict,
        checks,
        steps,
        notes,
        saturation=saturation,
        read=explainable.read,
        unused=explainable.unused,
    )
