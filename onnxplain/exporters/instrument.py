"""Turning any ONNX classifier or localizer into an explainable graph."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import onnx
import onnx_ir as ir

from onnxplain.contract import (
    Batch,
    BoxFormat,
    BoxUnits,
    GivenHeads,
    GivenInputs,
    GivenLabels,
    Layout,
    Preprocessing,
    PreprocessingParts,
)
from onnxplain.contract.arguments import checked
from onnxplain.errors import ModelError, OnnxplainError, TimeLimitError, VerificationError
from onnxplain.exporters.anatomy.heads import find_heads
from onnxplain.exporters.anatomy.inputs import find_image_value
from onnxplain.exporters.anatomy.layers import AUTO
from onnxplain.exporters.checks.float16_check import check_float16
from onnxplain.exporters.checks.report import Checks
from onnxplain.exporters.checks.same_outputs import allowed_difference, check_same
from onnxplain.exporters.checks.saturation import may_saturate_here
from onnxplain.exporters.checks.trial_images import image_batch
from onnxplain.exporters.checks.verify import verify
from onnxplain.exporters.file.bad_graph import refuses_bad_graphs
from onnxplain.exporters.file.batch import fixed_batch, is_batch_open
from onnxplain.exporters.file.extra_inputs import that_decide
from onnxplain.exporters.file.model_file import changes, prepare
from onnxplain.exporters.graph.session import GraphSession
from onnxplain.exporters.writing.detector_request import settle_detector
from onnxplain.exporters.writing.explainable import Explainable, input_spec
from onnxplain.exporters.writing.export_report import ExportReport
from onnxplain.exporters.writing.original import OriginalModel, open_original
from onnxplain.exporters.writing.request import Request
from onnxplain.exporters.writing.tail_file import check_tail_path
from onnxplain.exporters.writing.verified import build_verified
from onnxplain.exporters.writing.write import write_verified

IMAGES_TO_TRY = 3
ONE_IMAGE_ONLY = (
    "the batch is fixed to 1: the file states an open batch, but its sizes could be found for one image only"
)


@refuses_bad_graphs
@checked
def instrument(
    source: str | Path,
    destination: str | Path,
    *,
    layers: Sequence[str] = (AUTO,),
    heads: GivenHeads = (),
    logits: str | None = None,
    box: str | None = None,
    box_format: BoxFormat = "cxcywh",
    box_units: BoxUnits = "normalized",
    labels: GivenLabels = (),
    inputs: GivenInputs | None = None,
    preprocessing: Preprocessing | PreprocessingParts | None = None,
    input_size_hw: tuple[int, int] | None = None,
    layout: Layout | None = None,
    required_inputs: bool = False,
    gate: bool = True,
    batch: Batch = "auto",
    tail: bool = True,
    shuffle_weights: int | None = None,
    sidecars: bool = True,
    float16: bool = False,
    detector: str | None = None,
) -> ExportReport:
    """Write to `destination` the model of `source`, extended so that it can also output feature maps and gradients.

    The written file keeps the model's inputs and outputs, and adds the inputs, outputs and metadata of the
    contract (docs/contract.md). Before the file is written, these checks run: the original outputs are unchanged;
    the gradients depend on the class and the input, and agree with finite differences.

    - `layers`: names, unique parts of names, shares of the multiply-adds such as ``50%``, or ``auto``. ``input`` is the
      image itself, ``attention`` all attention matrices of a transformer; ``auto`` comes with them if nothing else
      does.
    - `heads`: what the model answers with, where its graph does not say it: ``NAME:KIND`` with a kind of
      classes, labels, values, box, embedding or mask; ``NAME:none`` leaves an output out. ``NAME`` alone is the head
      that is explained by default. Names are those of outputs, or of any value of the graph.
    - `logits`, `box`: other words for ``NAME:classes`` and ``NAME:box``.
    - `labels`: one per class, of the default head; or by the name of a head.
    - `inputs`: values of inputs besides the image, by name. They become defaults in the file.
    - `preprocessing`: whole, or some parts of it. A part that is not stated is what another tool says, else it is
      assumed: ImageNet's for float inputs of one or three channels, pixel / 255 for other numbers of channels, raw
      pixels for integers. The metadata say of each part whether it was stated, read or assumed.
    - `input_size_hw`, `layout`: height and width for an input whose size is not fixed, and the order of its axes. Open
      channels are those of `preprocessing`.
    - `required_inputs`: `target` and `explain` get no default values, for languages that cannot feed such inputs.
    - `gate`: gradients are computed only if `explain` asks for them. False leaves out that input and the `If` of each
      layer, for runtimes without conditions. Every run then computes all gradients.
    - `batch`: whether a fixed batch size becomes dynamic. ``auto``: yes, if the outputs stay the same. ``dynamic``:
      yes, or an error. ``fixed``: no.
    - `tail`: also write the part of the model after the last layer, as ``<stem>.tail.onnx`` beside `destination`. If
      the layer's features are not enough to compute the logits, no tail is written, and the report says why.
    - `shuffle_weights`: a seed. The values of every weight are permuted first, for sanity checks of explanations
      (Adebayo et al. 2018; `permute_weights`). The metadata say so, and the checks compare with the shuffled model.
    - `float16`: weights and activations become float16 first, by ONNX Runtime's converter; inputs and outputs keep
      their types, gradients are computed in float32. The outputs must agree with the float32 model within 5 %. The
      other checks compare with the float16 model.
    - `sidecars`: labels, parts of the preprocessing, the input's size and its number of channels that are not given
      here are read from other tools' metadata in the file, and from their files beside it (docs/sidecars.md). The
      report says what was read (``report.read``).

    - `detector`: the layout of a detector's outputs, if it cannot be told (docs/detectors.md). A detector has no heads:
      its targets are the classes and corners of its candidates.

    If the file is explainable already, its old instrumentation is removed first. Its labels and the parts of its
    preprocessing are kept unless new ones are given.

    Raises ModelError for a file or a graph that cannot be instrumented, UnsupportedError for an operator without
    a gradient rule, VerificationError for a failed check, TimeLimitError for a run of over 30 s (`limit_runs`). No file
    is written then.
    """
    source, destination = Path(source), Path(destination)
    if destination.exists() and source.exists() and destination.samefile(source):
        raise ModelError(f"{destination}: found the source file, expected another file to write: choose another name")
    if tail:
        check_tail_path(destination, source)
    request = Request(
        layers=layers,
        heads=heads,
        logits=logits,
        box=box,
        box_format=box_format,
        box_units=box_units,
        labels=labels,
        preprocessing=preprocessing,
        input_size_hw=input_size_hw,
        layout=layout,
        required_inputs=required_inputs,
        gate=gate,
        tail_of=destination if tail else None,
        detector_layout=detector,
    )
    opened = open_original(source, request, inputs or {}, shuffle_weights, sidecars=sidecars, float16=float16)
    _check_loads(opened)
    prepared = _prepare(opened, batch)
    opened = replace(opened, request=settle_detector(opened.request, prepared.model.graph))

    def check(built: Explainable) -> Checks:
        return verify(
            built.base, built.proto, built.spec, built.witnesses, original=opened.original, detector=built.detector
        )

    try:
        explainable, checks = build_verified(prepared.model, opened.request, check)
    except VerificationError as error:
        if (unfit := _unfit(opened)) is not None:
            raise unfit from error
        hints = []
        if shuffle_weights is not None:
            hints.append("with shuffled weights the outputs of a network can become constant: try another seed")
        if float16:
            hints.append("in float16 numbers above 65504 overflow: leave out --float16")
        if not hints:
            raise
        raise VerificationError(f"{error} ({'; '.join(hints)})") from error
    if opened.wide is not None:
        checks = replace(checks, float16_error=check_float16(opened.wide, opened.original, explainable.spec))
    steps = (*opened.steps, *prepared.steps)
    return write_verified(explainable, destination, opened.original, checks, steps, prepared.notes)


def _check_loads(opened: OriginalModel) -> None:
    """Raise an error for a file with contradictory shapes or a cycle."""
    try:
        GraphSession(opened.original, "original model", optimised=False)
    except VerificationError as error:
        if (unfit := _unfit(opened)) is not None:
            raise unfit from error
        raise


def _unfit(opened: OriginalModel) -> ModelError | None:
    """The error of a graph that does not run with the numbers that close its image input."""
    return None if opened.closed is None else opened.closed.misfit(opened.original)


@dataclass(frozen=True)
class _Prepared:
    """The graph to instrument. `steps` lists what was changed, `notes` what could not be changed."""

    model: ir.Model
    steps: tuple[str, ...]
    notes: tuple[str, ...] = ()


def _prepare(opened: OriginalModel, batch: Batch) -> _Prepared:
    """The graph in the form that is instrumented, with a dynamic batch if that is asked for and correct."""
    constants = opened.constants
    fixed: tuple[str, ...] = ()
    model = prepare(opened.original, constants=constants)
    deciding = that_decide(model.graph, constants)
    if deciding:
        # The branch that they choose is written out, so another value could not be given any more.
        constants = tuple(name for name in constants if name not in deciding)
        fixed = tuple(f"input {name} fixed: a condition depends on it" for name in sorted(deciding))
        model = prepare(opened.original, constants=constants)
    steps = (*changes(opened.original, model, opened.constants), *fixed)
    found = fixed_batch(model.graph)
    if found is not None and is_batch_open(opened.original, model.graph):
        if batch == "dynamic":
            raise VerificationError(
                "check 'dynamic batch' failed: the sizes could be found for one image only; use --batch fixed"
            )
        return _Prepared(model, steps, (ONE_IMAGE_ONLY,))
    if batch == "fixed" or found is None:
        return _Prepared(model, steps)
    if opened.request.detector is None:
        find_heads(model.graph, find_image_value(model.graph, opened.request.shape)[1], opened.request.asked)
    try:
        freed = _with_dynamic_batch(opened.original, opened.request, found, constants)
    except TimeLimitError:
        raise
    except (OnnxplainError, ValueError) as error:
        if batch == "dynamic":
            raise VerificationError(f"check 'dynamic batch' failed: {error}; use --batch fixed") from error
        return _Prepared(model, steps, (f"the batch stays fixed to {found}: {error}",))
    return _Prepared(freed, (*steps, f"batch {found} → dynamic"))


def _with_dynamic_batch(original: onnx.ModelProto, request: Request, batch: int, constants: Sequence[str]) -> ir.Model:
    """The prepared model with a symbolic batch; raises VerificationError where the batch changes the outputs."""
    model = prepare(original, dynamic_batch=True, constants=constants)
    spec = input_spec(find_image_value(model.graph, request.shape)[1], request)
    images = image_batch(original, spec, seed=0, count=batch * -(-IMAGES_TO_TRY // batch))
    dtype = np.dtype(np.float16) if images.dtype == np.float16 else np.dtype(np.float32)
    tolerance = allowed_difference(original, dtype)
    fused = not may_saturate_here(original)
    check_same(original, ir.to_proto(model), spec.name, images, batch, tolerance, fused=fused)
    return model
