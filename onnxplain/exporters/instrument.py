"""Turning any ONNX classifier or localizer into an explainable graph."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import onnx
import onnx_ir as ir

from onnxplain.contract import Batch, BoxFormat, BoxUnits, Layout, Preprocessing
from onnxplain.errors import ModelError, OnnxplainError, VerificationError
from onnxplain.exporters.anatomy.layers import AUTO
from onnxplain.exporters.anatomy.roles import find_image_value, find_roles
from onnxplain.exporters.checks.same_outputs import OUTPUT_TOLERANCE, check_same
from onnxplain.exporters.checks.trial_images import image_batch
from onnxplain.exporters.checks.verify import verify
from onnxplain.exporters.file.batch import fixed_batch, is_batch_open
from onnxplain.exporters.file.model_file import changes, load_proto, prepare
from onnxplain.exporters.file.shuffle import permute_weights
from onnxplain.exporters.file.strip import earlier_spec, strip_instrumentation
from onnxplain.exporters.graph.session import GraphSession
from onnxplain.exporters.writing.explainable import build_explainable, input_spec
from onnxplain.exporters.writing.export_report import ExportReport
from onnxplain.exporters.writing.request import Request
from onnxplain.exporters.writing.tail_file import check_tail_path
from onnxplain.exporters.writing.write import write_verified

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
    preprocessing: Preprocessing | None = None,
    input_size_hw: tuple[int, int] | None = None,
    layout: Layout | None = None,
    required_inputs: bool = False,
    batch: Batch = "auto",
    tail: bool = True,
    shuffle_weights: int | None = None,
) -> ExportReport:
    """Write `destination`: the model of `source`, which can also output feature maps and gradients.

    The written file keeps the model's inputs and outputs, and adds the inputs, outputs and metadata of the
    contract (docs/contract.md). Before it is written it is verified: original outputs unchanged, gradients that
    depend on class and input and agree with finite differences.

    `layers`: names, unique parts of names, shares of the multiply-adds such as ``50%``, or ``auto``. `logits`,
    `box`: names of the class logits and of the box head's output, where they cannot be found. `labels`: one per
    class. `preprocessing`: without it ImageNet's is assumed for float inputs, raw pixels for uint8, and the file
    says so. `input_size_hw`: closes an open input size. `required_inputs`: `target` and `explain` get no
    default, for languages that cannot feed inputs that have one. `batch`: whether a batch that the file fixes
    becomes dynamic: ``auto`` where the outputs prove to be the same, ``dynamic`` or an error, ``fixed`` as found.
    `tail`: whether what lies behind the last layer is written too, as ``<stem>.tail.onnx`` beside `destination`; where
    its features alone do not lead to the logits there is none, and the report says why.
    `shuffle_weights`: a seed; every weight's values are permuted before the rest, for sanity checks of explanations
    (Adebayo et al. 2018; `permute_weights`), and the file's metadata say so. Its checks are then against the shuffled
    model.

    A file that is explainable already has its old instrumentation removed first; labels and preprocessing that it
    states are kept where none are given.

    Raises ModelError for a file or a graph that this cannot be done to, UnsupportedError for an operator without
    a gradient rule, VerificationError for a failed check; nothing is written then.
    """
    source, destination = Path(source), Path(destination)
    if destination.exists() and source.exists() and destination.samefile(source):
        raise ModelError(f"{destination}: is the source itself: give another file to write")
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
        layout=layout,
        required_inputs=required_inputs,
        tail_of=destination if tail else None,
    )
    subject = _open(source, request, shuffle_weights)
    GraphSession(subject.original, "original model")  # Contradictory shapes and cycles are named here.
    prepared = _prepare(subject, input_size_hw, batch)
    explainable = build_explainable(prepared.model, subject.request)
    try:
        checks = verify(
            explainable.base, explainable.proto, explainable.spec, explainable.witnesses, original=subject.original
        )
    except VerificationError as error:
        if shuffle_weights is None:
            raise
        raise VerificationError(f"{error} (shuffled weights can silence a network: try another seed)") from error
    steps = (*subject.steps, *prepared.steps)
    return write_verified(explainable, destination, subject.original, checks, steps, prepared.notes)


@dataclass(frozen=True)
class _Subject:
    """The plain model to instrument, what is asked of it, and what was done to the file to get it."""

    original: onnx.ModelProto
    request: Request
    steps: tuple[str, ...]


@dataclass(frozen=True)
class _Prepared:
    """The graph to instrument; `steps` say what was changed of it, `notes` what could not be."""

    model: ir.Model
    steps: tuple[str, ...]
    notes: tuple[str, ...] = ()


def _open(source: Path, request: Request, shuffle_weights: int | None) -> _Subject:
    """Read the file, remove an earlier instrumentation, shuffle the weights where that is asked for."""
    original, steps = load_proto(source), []
    earlier = earlier_spec(original)
    if earlier is not None:
        original = strip_instrumentation(original, earlier)
        steps.append("earlier instrumentation removed")
        request = request.or_as_before(earlier)
    if shuffle_weights is not None:
        seed = request.shuffle_seed
        if seed is not None:
            raise ModelError(f"{source}: its weights are shuffled already, seed {seed}: give the model itself")
        request = replace(request, shuffle_seed=shuffle_weights)
        original, shuffled = permute_weights(original, shuffle_weights)
        steps.append(f"{shuffled} weights shuffled, seed {shuffle_weights}")
    return _Subject(original, request, tuple(steps))


def _prepare(subject: _Subject, input_size_hw: tuple[int, int] | None, batch: Batch) -> _Prepared:
    """The graph in the form that is instrumented, its batch freed where that is wanted and sound."""
    model = prepare(subject.original, input_size_hw)
    steps = tuple(changes(subject.original, model, input_size_hw))
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
        freed = _with_dynamic_batch(subject.original, input_size_hw, subject.request, found)
    except (OnnxplainError, ValueError) as error:
        if batch == "dynamic":
            raise VerificationError(f"check 'dynamic batch' failed: {error}; use --batch fixed") from error
        return _Prepared(model, steps, (f"the batch stays fixed to {found}: {error}",))
    return _Prepared(freed, (*steps, f"batch {found} → dynamic"))


def _with_dynamic_batch(
    original: onnx.ModelProto, input_size_hw: tuple[int, int] | None, request: Request, batch: int
) -> ir.Model:
    """The prepared model with a symbolic batch; raises VerificationError where the batch changes the outputs."""
    model = prepare(original, input_size_hw, dynamic_batch=True)
    image, layout = find_image_value(model.graph)
    spec = input_spec(image, layout, request)
    images = image_batch(original, spec, seed=0, count=batch * -(-IMAGES_TO_TRY // batch))
    tolerance = OUTPUT_TOLERANCE[np.dtype(np.float16) if images.dtype == np.float16 else np.dtype(np.float32)]
    check_same(original, ir.to_proto(model), spec.name, images, batch, tolerance)
    return model
