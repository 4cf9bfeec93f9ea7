"""Read the spec of a file from its metadata or, without metadata, from its graph and one probe run."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import numpy.typing as npt

from onnxplain.contract import (
    EXPLAIN_INPUT,
    METADATA_KEY,
    TARGET_INPUT,
    Completed,
    ImageInput,
    InputSpec,
    Layout,
    ModelSpec,
    OutputRoles,
    Preprocessing,
    PreprocessingParts,
    StatedShape,
    as_parts,
    complete_input,
    is_batched,
    override,
)
from onnxplain.contract.detectors import DetectorSpec, NoDetector, class_labels, read_hints
from onnxplain.errors import ModelError, OnnxplainError
from onnxplain.runtime.detection.detector_file import SIZE_INPUTS, OutputsSeen, assumed_input, find_detector, size_feed
from onnxplain.runtime.image_input import find_declared, find_image_input, readable
from onnxplain.runtime.preprocess import normalise, to_model
from onnxplain.runtime.scores import (
    as_rows,
    looks_like_classes,
    looks_like_softmax,
    probabilities,
    softmax,
)
from onnxplain.runtime.session import Session, run_session, with_batch_axis
from onnxplain.sidecars import SidecarFacts, fit_classes, read_sidecars, read_with_facts


@dataclass(frozen=True)
class Stated:
    """What the user states about a file. None: use the file's own value.

    `sidecars`: whether to read other tools' metadata and files for a plain file. `detector`: the layout of a detector.
    """

    preprocessing: Preprocessing | PreprocessingParts | None = None
    input_size_hw: tuple[int, int] | None = None
    layout: Layout | None = None
    labels: Sequence[str] | None = None
    sidecars: bool = True
    detector: str | None = None

    @property
    def parts(self) -> PreprocessingParts:
        """The parts of the preprocessing that are stated."""
        return as_parts(self.preprocessing)

    @property
    def shape(self) -> StatedShape:
        """What the user states about the shape of the input."""
        return StatedShape(self.input_size_hw, self.layout, self.parts.channels)


def read_spec(session: Session, path: Path, stated: Stated) -> tuple[ModelSpec, ImageInput, SidecarFacts]:
    """The file's spec, its image input, and what other tools say about it: what was used and what could not be used.

    Raises ModelError unless it is an image classifier, localizer or detector.
    """
    props = session.get_modelmeta().custom_metadata_map
    try:
        if METADATA_KEY not in props:
            read = read_sidecars(path, props) if stated.sidecars else SidecarFacts()
            read = read.beside(labels=stated.labels, parts=stated.parts, size=stated.input_size_hw)
            return _spec_of_plain_file(session, path, stated, read)
        return *_spec_of_explainable_file(session, path, stated, props[METADATA_KEY]), SidecarFacts()
    except ModelError as error:
        prefix = "" if str(error).startswith(str(path)) else f"{path}: "
        raise ModelError(f"{prefix}{error}") from error
    except OnnxplainError as error:
        raise OnnxplainError(f"{path}: {error}") from error


def _spec_of_explainable_file(session: Session, path: Path, stated: Stated, text: str) -> tuple[ModelSpec, ImageInput]:
    spec = ModelSpec.from_json(text)
    written = spec.input
    shape = StatedShape(written.size_hw, written.layout, stated.parts.channels or written.preprocessing.channels)
    image_input = find_image_input(session, path, shape, not_images=(TARGET_INPUT, EXPLAIN_INPUT, *SIZE_INPUTS))
    roles = spec.outputs
    named: list[str | None] = [*(spec.detector.output_names if spec.detector else ())]
    named += [roles.logits, roles.scores, roles.box, roles.cam_weights]
    named += [output for layer in spec.layers for output in (layer.features, layer.gradients)]
    missing = {name for name in named if name is not None} - {tensor.name for tensor in session.get_outputs()}
    if image_input.name != spec.input.name:
        missing.add(spec.input.name)
    if missing:
        raise ModelError(
            f"found no {', '.join(sorted(missing))} in the graph, expected all names in the metadata: the file was "
            "changed after it was instrumented, so instrument the original again"
        )
    if stated.layout not in (None, spec.input.layout):
        raise ModelError(
            f"found layout {stated.layout}, expected {spec.input.layout} as in the file: leave out the layout"
        )
    if stated.input_size_hw is not None and tuple(stated.input_size_hw) != spec.input.size_hw:
        found, expected = ("x".join(map(str, size)) for size in (stated.input_size_hw, spec.input.size_hw))
        raise ModelError(
            f"found input size {found}, expected {expected}, for which the file was instrumented: instrument the "
            "original again with --size"
        )
    found_layout = spec.detector.layout_name if spec.detector else None
    if stated.detector not in (None, found_layout):
        raise ModelError(
            f"found {found_layout or 'no layout of detectors'} in the metadata, expected {stated.detector} as stated: "
            "leave out --detector, or give the original file"
        )
    if stated.preprocessing is not None:
        parts = stated.parts.with_preset(image_input.dtype, image_input.channels)
        spec = spec.with_preprocessing(override(parts, Completed(written.preprocessing, written.origins)))
    if stated.labels is not None:
        labels = tuple(stated.labels) if spec.detector is None else class_labels(stated.labels, spec.detector)
        spec = replace(spec, labels=labels)
    return spec, image_input


def _spec_of_plain_file(
    session: Session, path: Path, stated: Stated, read: SidecarFacts
) -> tuple[ModelSpec, ImageInput, SidecarFacts]:
    declared = find_declared(session, path, SIZE_INPUTS)
    found, read = read_with_facts(declared, stated.shape, read)
    image_input = readable(path, found)
    said, source = (PreprocessingParts(), None) if read.parts is None else (read.parts.value, read.parts.source)
    completed = complete_input(image_input, stated.parts, said, source)
    outputs = _probe(session, path, image_input, _input_spec(image_input, completed))
    detector = _find_detector(session, path, stated, read, OutputsSeen(outputs, image_input.size_hw))
    if isinstance(detector, DetectorSpec):
        completed = assumed_input(detector, image_input, stated.parts, said, source)
        return _spec_of_detector(detector, _input_spec(image_input, completed), stated, read, image_input)
    if not is_batched(image_input.layout):
        outputs = {name: with_batch_axis(output) for name, output in outputs.items()}
    try:
        roles, classes = _find_roles(outputs)
    except ModelError as error:
        raise ModelError(f"{error}; {detector}") from error
    read = fit_classes(read, classes)
    labels = () if read.labels is None else read.labels.value
    if stated.labels is not None:
        labels = tuple(stated.labels)
    input_spec = _input_spec(image_input, completed)
    return ModelSpec("classification", input_spec, roles, classes, labels=labels), image_input, read


def _input_spec(image_input: ImageInput, completed: Completed) -> InputSpec:
    return InputSpec(
        image_input.name, image_input.layout, image_input.size_hw, completed.preprocessing, completed.origins
    )


def _find_detector(
    session: Session, path: Path, stated: Stated, read: SidecarFacts, seen: OutputsSeen
) -> DetectorSpec | NoDetector:
    """The detector; `NoDetector` where it is none. Raises ModelError for a detector that cannot be read."""
    props = session.get_modelmeta().custom_metadata_map if stated.sidecars else {}
    # Labels that the user states replace names, but the number of classes is the file's.
    own = read_sidecars(path, props).labels if stated.sidecars and stated.labels is not None else read.labels
    labels = stated.labels if own is None else own.value
    hints = read_hints(
        props,
        stated=stated.detector,
        classes=None if labels is None else len(labels),
        model_type=None if read.model_type is None else read.model_type.value,
    )
    found = find_detector(session, path, seen, hints)
    if isinstance(found, NoDetector) and found.is_refused:
        raise ModelError(str(found))
    return found


def _spec_of_detector(
    detector: DetectorSpec, input_spec: InputSpec, stated: Stated, read: SidecarFacts, image_input: ImageInput
) -> tuple[ModelSpec, ImageInput, SidecarFacts]:
    if read.labels is not None:
        read = replace(read, labels=replace(read.labels, value=class_labels(read.labels.value, detector)))
    if detector.classes is not None:
        read = fit_classes(read, detector.classes)
    usual = detector.layout.labels if len(detector.layout.labels) == detector.classes else ()
    labels = usual if read.labels is None else read.labels.value
    if stated.labels is not None:
        labels = class_labels(stated.labels, detector)
    classes = len(labels) if detector.classes is None else detector.classes
    spec = ModelSpec("detection", input_spec, OutputRoles(), classes, labels=labels, detector=detector)
    return spec, image_input, read


def _probe(
    session: Session, path: Path, image_input: ImageInput, input_spec: InputSpec
) -> dict[str, npt.NDArray[np.generic]]:
    """All outputs for images of random noise, unchanged."""
    preprocessing = input_spec.preprocessing
    shape = (image_input.batch or 1, *input_spec.size_hw, 3 if preprocessing.is_colour else preprocessing.channel_count)
    noise_nhwc = np.random.default_rng(0).integers(0, 256, shape, np.uint8)
    dtype = np.uint8 if preprocessing.pixels == "bytes" else np.float32
    batch_nchw = normalise(noise_nhwc.astype(dtype), preprocessing)
    names = [tensor.name for tensor in session.get_outputs()]
    feed = {image_input.name: to_model(batch_nchw, input_spec.layout, image_input.dtype)}
    feed |= size_feed(session, input_spec.size_hw, len(batch_nchw))
    return dict(zip(names, run_session(session, path, names, feed), strict=True))


def _find_roles(outputs: dict[str, npt.NDArray[np.generic]]) -> tuple[OutputRoles, int]:
    """Find the outputs with scores and logits from one run. Raises ModelError if that is unclear."""
    candidates = {name: output for name, output in outputs.items() if looks_like_classes(output)}
    scores = [name for name, output in candidates.items() if looks_like_softmax(output)]
    logits = [
        name for name, output in candidates.items() if name not in scores and np.issubdtype(output.dtype, np.floating)
    ]
    shapes = ", ".join(f"{name} {list(np.shape(output))}" for name, output in outputs.items())
    if not scores and not logits:
        raise ModelError(
            f"found the outputs {shapes}, expected classes, one row (N, C) per image: choose a classifier, or name "
            "its logits with `onnxplain instrument --logits NAME`"
        )
    if len(scores) > 1 or (not scores and len(logits) > 1):
        raise ModelError(
            f"found several outputs that may be classes ({', '.join(scores or logits)}), expected one: name "
            "it with `onnxplain instrument --logits NAME` (and --box NAME)"
        )
    if not scores:
        return OutputRoles(logits=logits[0]), as_rows(outputs[logits[0]]).shape[1]
    distribution = probabilities(outputs[scores[0]])
    matching = [name for name in logits if _is_softmax_of(outputs[name], distribution)]
    return OutputRoles(matching[0] if matching else None, scores[0]), distribution.shape[1]


def _is_softmax_of(logits: npt.NDArray[np.generic], distribution: npt.NDArray[np.float32]) -> bool:
    rows = as_rows(logits)
    return rows.shape == distribution.shape and bool(np.allclose(softmax(rows), distribution, atol=1e-2))
