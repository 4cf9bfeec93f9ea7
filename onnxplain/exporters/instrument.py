"""Turning any ONNX classifier or localizer into an explainable graph."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import onnx
import onnx_ir as ir

from onnxplain.contract import Batch, BoxFormat, BoxUnits, Layout, Preprocessing, PreprocessingParts
from onnxplain.errors import ModelError, OnnxplainError, VerificationError
from onnxplain.exporters.anatomy.layers import AUTO
from onnxplain.exporters.anatomy.roles import find_image_value, find_roles
from onnxplain.exporters.checks.same_outputs import OUTPUT_TOLERANCE, check_same
from onnxplain.exporters.checks.trial_images import image_batch
from onnxplain.exporters.checks.verify import verify
from onnxplain.exporters.file.batch import free_batch, has_fixed_batch
from onnxplain.exporters.file.close_input import close_input
from onnxplain.exporters.file.model_file import changes, load_proto, prepare
from onnxplain.exporters.file.shuffle import permute_weights
from onnxplain.exporters.file.strip import earlier_spec, strip_instrumentation
from onnxplain.exporters.graph.session import GraphSession
from onnxplain.exporters.writing.explainable import build_explainable, input_spec
from onnxplain.exporters.writing.export_report import ExportReport
from onnxplain.exporters.writing.request import Request
from onnxplain.exporters.writing.tail_file import check_tail_path
from onnxplain.exporters.writing.write import write_verified

BATCH_TO_TRY = 3


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
    batch: Batch = "auto",
    tail: bool = True,
    shuffle_weights: int | None = None,
) -> ExportReport:
    """Write to `destination` the model of `source`, extended so that it can also output feature maps and gradients.

    The written file keeps the model's inputs and outputs, and adds the inputs, outputs and metadata of the
    contract (docs/contract.md). Before the file is written, these checks run: the original outputs are unchanged;
    the gradients depend on the class and the input, and agree with finite differences.

    - `layers`: names, unique parts of names, shares of the multiply-adds such as ``50%``, or ``auto``.
    - `logits`, `box`: names of the class logits and of the box head's output, if they cannot be found automatically.
    - `labels`: one per class.
    - `preprocessing`: whole, or some parts of it. What is not stated is assumed: ImageNet's for float inputs of one or
      three channels, pixel / 255 for other numbers of channels, raw pixels for integers. The metadata say of each part
      whether it was stated or assumed.
    - `input_size_hw`, `layout`: height and width for an input whose size is not fixed, and the order of its axes. Open
      channels are those of `preprocessing`.
    - `required_inputs`: `target` and `explain` get no default values, for languages that cannot feed such inputs.
    - `batch`: whether a batch size fixed to 1 becomes dynamic. ``auto``: yes, if the outputs stay the same.
      ``dynamic``: yes, or an error. ``fixed``: no.
    - `tail`: also write the part of the model after the last layer, as ``<stem>.tail.onnx`` beside `destination`. If
      the layer's features are not enough to compute the logits, no tail is written, and the report says why.
    - `shuffle_weights`: a seed. The values of every weight are permuted first, for sanity checks of explanations
      (Adebayo et al. 2018; `permute_weights`). The metadata say so, and the checks compare with the shuffled model.

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
        tail_of=destination if tail else None,
    )
    subject = _open(source, request, shuffle_weights)
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


def _open(source: Path, request: Request, shuffle_weights: int | None) -> _Subject:
    """Read the file, remove an earlier instrumentation, shuffle the weights if the user asked for it."""
    original, steps = load_proto(source), []
    earlier = earlier_spec(original)
    if earlier is not None:
        original = strip_instrumentation(original, earlier)
        steps.append("earlier instrumentation removed")
        request = request.or_as_before(earlier)
    steps += close_input(original, request.shape)
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
    if batch == "fixed" or not has_fixed_batch(model.graph):
        return _Prepared(model, steps)
    find_roles(model.graph, subject.request.logits, subject.request.box)
    try:
        freed = _with_dynamic_batch(subject.original, subject.request)
    except (OnnxplainError, ValueError) as error:
        if batch == "dynamic":
            raise VerificationError(f"check 'dynamic batch' failed: {error}; use --batch fixed") from error
        return _Prepared(model, steps, (f"the batch stays fixed to 1: {error}",))
    return _Prepared(freed, (*steps, "batch 1 → dynamic"))


def _with_dynamic_batch(original: onnx.ModelProto, request: Request) -> ir.Model:
    """The prepared model with a symbolic batch size. Raises VerificationError if batching changes the outputs."""
    model = prepare(original)
    free_batch(model)
    spec = input_spec(find_image_value(model.graph, request.shape)[1], request)
    images = [image_batch(original, spec, seed) for seed in range(BATCH_TO_TRY)]
    tolerance = OUTPUT_TOLERANCE[np.dtype(np.float16) if images[0].dtype == np.float16 else np.dtype(np.float32)]
    check_same(original, ir.to_proto(model), spec.name, images, tolerance)
    return model
