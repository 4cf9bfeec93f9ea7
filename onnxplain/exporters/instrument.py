"""Turning any ONNX classifier or localizer into an explainable graph."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from onnxplain.contract import BoxFormat, BoxUnits, Layout, Preprocessing
from onnxplain.errors import ModelError
from onnxplain.exporters.explainable import Request, build
from onnxplain.exporters.layers import AUTO
from onnxplain.exporters.model_file import load_proto, prepare, write_proto
from onnxplain.exporters.report import ExportReport
from onnxplain.exporters.verify import verify


def instrument(
    source: str | Path,
    destination: str | Path,
    *,
    layers: Sequence[str] = (AUTO,),
    logits: str | None = None,
    box: str | None = None,
    box_format: BoxFormat = "cxcywh",
    box_units: BoxUnits = "normalized",
    labels: Sequence[str] = (),
    preprocessing: Preprocessing | None = None,
    input_size_hw: tuple[int, int] | None = None,
    layout: Layout | None = None,
    required_inputs: bool = False,
) -> ExportReport:
    """Write `destination`: the model of `source`, which can also output feature maps and gradients.

    The written file keeps the model's inputs and outputs, and adds the inputs, outputs and metadata of the
    contract (docs/contract.md). Before it is written it is verified: original outputs unchanged, gradients that
    depend on class and input and agree with finite differences.

    `layers`: names, unique parts of names, shares of the multiply-adds such as ``50%``, or ``auto``. `logits`,
    `box`: names of the class logits and of the box head's output, where they cannot be found. `labels`: one per
    class. `preprocessing`: without it ImageNet's is assumed for float inputs, raw pixels for uint8, and the file
    says so. `input_size_hw`: closes an open input size. `required_inputs`: `target` and `explain` get no
    default, for languages that cannot feed inputs that have one.

    Raises ModelError for a file or a graph that this cannot be done to, UnsupportedError for an operator without
    a gradient rule, VerificationError for a failed check; nothing is written then.
    """
    source, destination = Path(source), Path(destination)
    if destination.exists() and source.exists() and destination.samefile(source):
        raise ModelError(f"{destination}: is the source itself: give another file to write")
    request = Request(layers, logits, box, box_format, box_units, labels, preprocessing, layout, required_inputs)
    original = load_proto(source)
    explainable = build(prepare(original, input_size_hw), request)
    checks = verify(explainable.base, explainable.proto, explainable.spec, explainable.tails, original=original)
    write_proto(explainable.proto, destination)
    return ExportReport(destination, explainable.spec, explainable.cam, checks)
