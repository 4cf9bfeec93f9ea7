"""Turning any ONNX classifier or localizer into an explainable graph."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import onnx
import onnx_ir as ir

from onnxplain.contract import Batch, BoxFormat, BoxUnits, ImageInput, Layout, Preprocessing, PreprocessingParts
from onnxplain.errors import ModelError, OnnxplainError, VerificationError
from onnxplain.exporters.anatomy.layers import AUTO
from onnxplain.exporters.anatomy.roles import find_image_value, find_roles
from onnxplain.exporters.checks.same_outputs import OUTPUT_TOLERANCE, check_same
from onnxplain.exporters.checks.saturation import may_saturate_here
from onnxplain.exporters.checks.trial_images import image_batch
from onnxplain.exporters.checks.verify import verify
from onnxplain.exporters.file.batch import fixed_batch, is_batch_open
from onnxplain.exporters.file.close_input import close_input, declare_input
from onnxplain.exporters.file.detectors import refuse_detector_file
from onnxplain.exporters.file.model_file import changes, load_proto, prepare
from onnxplain.exporters.file.shuffle import permute_weights
from onnxplain.exporters.file.strip import earlier_spec, strip_instrumentation
from onnxplain.exporters.graph.session import GraphSession
from onnxplain.exporters.writing.explainable import build_explainable, input_spec
from onnxplain.exporters.writing.export_report import ExportReport
from onnxplain.exporters.writing.request import Request
from onnxplain.exporters.writing.tail_file import check_tail_path
from onnxplain.exporters.writing.write import write_verified
from onnxplain.sidecars import read_sidecars, read_with_facts

IMAGES_TO_TRY = 3
ONE_IMAGE_ONLY = (
    "the batch is fixed to 1: the file states an open batch, but its sizes could be found for one image only"
)


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
    preprocessing: Preprocessing | PreprocessingParts | None = None,
    input_size_hw: tuple[int, int] | None = None,
    layout: Layout | None = None,
    required_inputs: bool = False,
    gate: bool = True,
    batch: Batch = "auto",
    tail: bool = True,
    shuffle_weights: int | None = None,
    sidecars: bool = True,
) -> ExportReport:
    """Write to `destination` the model of `source`, extended so that it can also output feature maps and gradients.

    The written file keeps the model's inputs and outputs, and adds the inputs, outputs and metadata of the
    contract (docs/contract.md). Before the file is written, these checks run: the original outputs are unchanged;
    the gradients depend on the class and the input, and agree with finite differences.

    - `layers`: names, unique parts of names, shares of the multiply-adds such as ``50%``, or ``auto``.
    - `logits`, `box`: names of the class logits and of the box head's output, if they cannot be found automatically.
    - `labels`: one per class.
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

    - `sidecars`: labels, parts of the preprocessing, the input's size and its number of channels that are not given
      here are read from other tools' metadata in the file, and from their files beside it (docs/sidecars.md). The
      report says what was read (``report.read``).

    If the file is explainable already, its old instrumentation is removed first. Its labels and the parts of its
    preprocessing are kept unless new ones are given.

    Raises ModelError for a file or a graph that cannot be instrumented, UnsupportedError for an operator without
    a gradient rule, VerificationError for a failed check. No file is written then.
    """
    source, destination = Path(source), Path(destination)
    if destination.exists() and source.exists() and destination.samefile(source):
        raise ModelError(f"{destination}: found the source file, expected another file to write: choose another name")
    if tail:
        check_tail_path(destination, source)
    request = Request(
        layers=layers,
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
    )
    subject = _open(source, request, shuffle_weights, sidecars=sidecars)
    GraphSession(subject.original, "original model")  # Reports contradictory shapes and cycles.
    prepared = _prepare(subject, batch)
    explainable = build_explainable(prepared.model, subject.request)
    try:
        checks = verify(
            explainable.base, explainable.proto, explainable.spec, explainable.witnesses, original=subject.original
        )
    except VerificationError as error:
        if shuffle_weights is None:
            raise
        raise VerificationError(
            f"{error} (with shuffled weights the outputs of a network can become constant: try another seed)"
        ) from error
    steps = (*subject.steps, *prepared.steps)
    return write_verified(explainable, destination, subject.original, checks, steps, prepared.notes)


@dataclass(frozen=True)
class _Subject:
    """The plain model to instrument, the user's request, and the changes already made to the file."""

    original: onnx.ModelProto
    request: Request
    steps: tuple[str, ...]


@dataclass(frozen=True)
class _Prepared:
    """The graph to instrument. `steps` lists what was changed, `notes` what could not be changed."""

    model: ir.Model
    steps: tuple[str, ...]
    notes: tuple[str, ...] = ()


def _open(source: Path, request: Request, shuffle_weights: int | None, *, sidecars: bool) -> _Subject:
    """Read the file and its sidecars, remove an earlier instrumentation, shuffle the weights if asked for."""
    original, steps = load_proto(source), []
    earlier = earlier_spec(original)
    if earlier is not None:
        original = strip_instrumentation(original, earlier)
        steps.append("earlier instrumentation removed")
        request = request.or_as_before(earlier)
    if sidecars:
        props = {entry.key: entry.value for entry in original.metadata_props}
        known = request.parts if request.earlier is None else PreprocessingParts.of(request.earlier.preprocessing)
        read = read_sidecars(source, props).beside(labels=request.labels, parts=known, size=request.input_size_hw)
        request = replace(request, read=read)
    declared = declare_input(original)
    if declared is None:
        refuse_detector_file(original, None, request.logits)
    else:
        image, read = read_with_facts(declared, request.shape, request.read)
        refuse_detector_file(original, image, request.logits)
        steps += close_input(original, image)
        if isinstance(image, ImageInput):
            request = replace(request, read=read, layout=image.layout)
    if shuffle_weights is not None:
        seed = request.shuffle_seed
        if seed is not None:
            raise ModelError(
                f"{source}: found weights that are shuffled already (seed {seed}), expected the original model: "
                "give the original file"
            )
        request = replace(request, shuffle_seed=shuffle_weights)
        original, shuffled = permute_weights(original, shuffle_weights)
        steps.append(f"{shuffled} weights shuffled, seed {shuffle_weights}")
    return _Subject(original, request, tuple(steps))


def _prepare(subject: _Subject, batch: Batch) -> _Prepared:
    """The graph in the form that is instrumented, with a dynamic batch if that is asked for and correct."""
    model = prepare(subject.original)
    steps = tuple(changes(subject.original, model))
    found = fixed_batch(model.graph)
    if found is not None and is_batch_open(subject.original, model.graph):
        if batch == "dynamic":
            raise VerificationError(
                "check 'dynamic batch' failed: the sizes could be found for one image only; use --batch fixed"
            )
        return _Prepared(model, steps, (ONE_IMAGE_ONLY,))
    if batch == "fixed" or found is None:
        return _Prepared(model, steps)
    find_roles(model.graph, subject.request.logits, subject.request.box)
    try:
        freed = _with_dynamic_batch(subject.original, subject.request, found)
    except (OnnxplainError, ValueError) as error:
        if batch == "dynamic":
            raise VerificationError(f"check 'dynamic batch' failed: {error}; use --batch fixed") from error
        return _Prepared(model, steps, (f"the batch stays fixed to {found}: {error}",))
    return _Prepared(freed, (*steps, f"batch {found} → dynamic"))


def _with_dynamic_batch(original: onnx.ModelProto, request: Request, batch: int) -> ir.Model:
    """The prepared model with a symbolic batch; raises VerificationError where the batch changes the outputs."""
    model = prepare(original, dynamic_batch=True)
    spec = input_spec(find_image_value(model.graph, request.shape)[1], request)
    images = image_batch(original, spec, seed=0, count=batch * -(-IMAGES_TO_TRY // batch))
    tolerance = OUTPUT_TOLERANCE[np.dtype(np.float16) if images.dtype == np.float16 else np.dtype(np.float32)]
    fused = not may_saturate_here(original)
    check_same(original, ir.to_proto(model), spec.name, images, batch, tolerance, fused=fused)
    return model
