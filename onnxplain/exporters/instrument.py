"""Turning any ONNX classifier or localizer into an explainable graph."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import onnx
import onnx_ir as ir

from onnxplain.contract import Batch, BoxFormat, BoxUnits, Layout, Preprocessing
from onnxplain.errors import ModelError, OnnxplainError, VerificationError
from onnxplain.exporters.anatomy.layers import AUTO
from onnxplain.exporters.anatomy.roles import find_image_input, find_roles
from onnxplain.exporters.checks.report import ExportReport
from onnxplain.exporters.checks.same_outputs import OUTPUT_TOLERANCE, check_same
from onnxplain.exporters.checks.trial_images import image_batch
from onnxplain.exporters.checks.verify import verify
from onnxplain.exporters.file.batch import free_batch, has_fixed_batch
from onnxplain.exporters.file.model_file import changes, load_proto, prepare
from onnxplain.exporters.file.shuffle import permute_weights
from onnxplain.exporters.file.strip import earlier_spec, strip_instrumentation
from onnxplain.exporters.graph.session import GraphSession
from onnxplain.exporters.writing.explainable import Request, build, input_spec
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
    default, for languages that cannot feed inputs that have one. `batch`: whether a batch that the file fixes to 1
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
    original, steps, notes = load_proto(source), [], []
    earlier = earlier_spec(original)
    if earlier is not None:
        original = strip_instrumentation(original, earlier)
        steps.append("earlier instrumentation removed")
        labels = labels or earlier.labels
        if preprocessing is None and not earlier.input.assumed:
            preprocessing = earlier.input.preprocessing
        if box is None and earlier.box is not None:
            box, box_format, box_units = earlier.outputs.box, earlier.box.format, earlier.box.units
    shuffle_seed = None if earlier is None else earlier.shuffle_seed
    if shuffle_weights is not None:
        if shuffle_seed is not None:
            raise ModelError(f"{source}: its weights are shuffled already, seed {shuffle_seed}: give the model itself")
        shuffle_seed = shuffle_weights
        original, shuffled = permute_weights(original, shuffle_seed)
        steps.append(f"{shuffled} weights shuffled, seed {shuffle_seed}")
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
        shuffle_seed=shuffle_seed,
    )
    GraphSession(original, "original model")  # Contradictory shapes and cycles are named here.
    model = prepare(original, input_size_hw)
    steps.extend(changes(original, model, input_size_hw))
    if batch != "fixed" and has_fixed_batch(model.graph):
        find_roles(model.graph, logits, box)
        try:
            model = _with_dynamic_batch(original, input_size_hw, request)
            steps.append("batch 1 → dynamic")
        except (OnnxplainError, ValueError) as error:
            if batch == "dynamic":
                raise VerificationError(f"check 'dynamic batch' failed: {error}; use --batch fixed") from error
            notes.append(f"the batch stays fixed to 1: {error}")
    explainable = build(model, request)
    try:
        checks = verify(explainable.base, explainable.proto, explainable.spec, explainable.witnesses, original=original)
    except VerificationError as error:
        if shuffle_weights is None:
            raise
        raise VerificationError(f"{error} (shuffled weights can silence a network: try another seed)") from error
    return write_verified(explainable, destination, original, checks, tuple(steps), tuple(notes))


def _with_dynamic_batch(original: onnx.ModelProto, input_size_hw: tuple[int, int] | None, request: Request) -> ir.Model:
    """The prepared model with a symbolic batch; raises VerificationError where a batch changes the outputs."""
    model = prepare(original, input_size_hw)
    free_batch(model)
    image, layout = find_image_input(model.graph)
    spec = input_spec(image, layout, request)
    images = [image_batch(original, spec, seed) for seed in range(BATCH_TO_TRY)]
    tolerance = OUTPUT_TOLERANCE[np.dtype(np.float16) if images[0].dtype == np.float16 else np.dtype(np.float32)]
    check_same(original, ir.to_proto(model), spec.name, images, tolerance)
    return model
