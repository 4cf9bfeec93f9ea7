"""The plain model to instrument: read, stripped of an earlier instrumentation, its inputs closed and filled."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

import onnx

from onnxplain.contract import (
    ChosenInputs,
    GivenInputs,
    ImageInput,
    PreprocessingParts,
    UnreadInput,
    choose_inputs,
    image_candidates,
)
from onnxplain.errors import ModelError
from onnxplain.exporters.file.close_input import close_input, declare_inputs
from onnxplain.exporters.file.closed_input import ClosedInput
from onnxplain.exporters.file.detectors import refuse_custom_operators
from onnxplain.exporters.file.extra_inputs import store_constants
from onnxplain.exporters.file.float16 import to_float16
from onnxplain.exporters.file.model_file import load_proto
from onnxplain.exporters.file.shuffle import permute_weights
from onnxplain.exporters.file.strip import earlier_spec, strip_instrumentation
from onnxplain.exporters.writing.detector_request import find_detector_in, label_detector_of
from onnxplain.exporters.writing.request import Request
from onnxplain.sidecars import SidecarFacts, read_sidecars, read_with_facts


@dataclass(frozen=True)
class OriginalModel:
    """The plain model to instrument, the user's request, and the changes already made to the file.

    `constants`: inputs besides the image that have a default. `wide`: the model before its weights became float16;
    None where they did not. `closed`: the image input before and after it was closed; None where it was not.
    """

    original: onnx.ModelProto
    request: Request
    steps: tuple[str, ...]
    constants: tuple[str, ...] = ()
    wide: onnx.ModelProto | None = None
    closed: ClosedInput | None = None


def open_original(
    source: Path,
    request: Request,
    given: GivenInputs,
    shuffle_weights: int | None = None,
    *,
    sidecars: bool = False,
    float16: bool = False,
) -> OriginalModel:
    """Read the file and its sidecars, remove an earlier instrumentation, shuffle or narrow the weights if asked for."""
    original, steps = load_proto(source), []
    earlier, constants = earlier_spec(original), []
    if earlier is not None:
        original = strip_instrumentation(original, earlier)
        steps.append("earlier instrumentation removed")
        request = request.or_as_before(earlier, [output.name for output in original.graph.output])
        constants = [extra.name for extra in earlier.extra_inputs if extra.fill == "constant"]
    if sidecars:
        props = {entry.key: entry.value for entry in original.metadata_props}
        known = request.parts if request.earlier is None else PreprocessingParts.of(request.earlier.preprocessing)
        read = read_sidecars(source, props).beside(labels=request.labels, parts=known, size=request.input_size_hw)
        request = replace(request, read=read)
    image, read = _read_image(original, request, given)
    refuse_custom_operators(original)
    if request.detector_layout is not None or (earlier is None and not request.asked.stated):
        # Who names a head knows what the outputs mean.
        request = replace(request, detector=find_detector_in(original, image, request, read))
    closed = None
    if image is not None:
        declared = {entry.name: entry for entry in declare_inputs(original, given)}
        steps += close_input(original, image)
        if isinstance(image, ImageInput):
            closed = ClosedInput(declared[image.name], image)
            closed.check_channels(original, request.shape)
            request = label_detector_of(replace(request, read=read), earlier).of_input(image, earlier)
    chosen = choose_inputs(declare_inputs(original, given), request.shape, given)
    if not isinstance(chosen, ChosenInputs):
        raise ModelError(str(chosen))
    stored = store_constants(original, chosen.extra)
    steps += [f"input {name} has a default" for name in stored]
    constants += [name for name in stored if name not in constants]
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
    wide = original if float16 else None
    if float16:
        original, narrowed = to_float16(original, constants)
        steps.append(f"float16: {narrowed} weights")
    return OriginalModel(original, request, tuple(steps), tuple(constants), wide, closed)


def _read_image(
    original: onnx.ModelProto, request: Request, given: GivenInputs
) -> tuple[ImageInput | UnreadInput | None, SidecarFacts]:
    """The image input, closed by what other tools say; None where several inputs may be the image."""
    candidates = image_candidates(declare_inputs(original, given), given)
    read = [read_with_facts(declared, request.shape, request.read) for declared in candidates]
    images = [entry for entry in read if isinstance(entry[0], ImageInput)] if len(read) > 1 else read
    return images[0] if len(images) == 1 else (None, request.read)
