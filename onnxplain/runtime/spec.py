"""Read the spec of a file from its metadata or, without metadata, from the end of its graph."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np

from onnxplain.contract import (
    CONTROL_INPUTS,
    METADATA_KEY,
    Completed,
    GivenHeads,
    GivenInputs,
    GivenLabels,
    ImageInput,
    InputSpec,
    Layout,
    ModelSpec,
    Preprocessing,
    PreprocessingParts,
    ReadKind,
    StatedHead,
    StatedShape,
    UnusedOutput,
    as_parts,
    complete_input,
    labels_by_head,
    override,
    read_stated,
)
from onnxplain.contract.detectors import DetectorSpec, NoDetector, assumed_input
from onnxplain.contract.metadata_checks import check_labels
from onnxplain.errors import ModelError, OnnxplainError
from onnxplain.machine.providers import OPENVINO
from onnxplain.runtime.arrays import AnyArray
from onnxplain.runtime.detection.plain_detector import StatedDetector, find_plain_detector
from onnxplain.runtime.feed import extra_arrays
from onnxplain.runtime.heads.default_head import FileTargets, choose_default
from onnxplain.runtime.heads.graph_end import FileEnd
from onnxplain.runtime.heads.plain_heads import find_plain_heads
from onnxplain.runtime.image_input import (
    check_open_channels,
    declared_inputs,
    inputs_of,
    inputs_with_facts,
    with_quantization,
)
from onnxplain.runtime.output_shapes import OutputShapes
from onnxplain.runtime.sessions.session import Session
from onnxplain.sidecars import SidecarFacts, fit_labels, label_detector, read_sidecars


@dataclass(frozen=True)
class Stated:
    """What the user states about a file. None: use the file's own value.

    `sidecars`: whether to read other tools' metadata and files for a plain file. `heads`, `inputs`, `detector`: see
    `Engine`. Raises OnnxplainError for heads together with a detector.
    """

    preprocessing: Preprocessing | PreprocessingParts | None = None
    input_size_hw: tuple[int, int] | None = None
    layout: Layout | None = None
    labels: GivenLabels | None = None
    sidecars: bool = True
    heads: GivenHeads = ()
    inputs: GivenInputs = field(default_factory=dict)
    detector: str | None = None

    def __post_init__(self) -> None:
        if self.heads and self.detector is not None:
            stated = ", ".join(head.name for head in self.told_heads)
            raise OnnxplainError(
                f"found the heads {stated} and the detector {self.detector}, expected one of both: a detector has no "
                "heads, so leave out --head (heads=…) or --detector (detector=…)"
            )
        if self.labels is not None:
            check_labels(self.labels)

    @property
    def parts(self) -> PreprocessingParts:
        """The parts of the preprocessing that are stated."""
        return as_parts(self.preprocessing)

    @property
    def shape(self) -> StatedShape:
        """What the user states about the shape of the input."""
        return StatedShape(self.input_size_hw, self.layout, self.parts.channels)

    @property
    def of_detector(self) -> StatedDetector:
        """What is stated of a detector."""
        return StatedDetector(self.detector, self.labels, self.sidecars)

    @property
    def told_heads(self) -> tuple[StatedHead, ...]:
        """The stated heads."""
        return tuple(read_stated(head) for head in self.heads)


@dataclass(frozen=True)
class ReadModel:
    """What a file is: its spec, its image input, and what other tools say about it, used and not used.

    `unused`: the outputs of a plain file that are no heads, each with its reason. `file_targets`: how an explainable
    file counts targets, where another of its heads is the default.
    """

    spec: ModelSpec
    image: ImageInput
    sidecars: SidecarFacts = field(default_factory=SidecarFacts)
    unused: tuple[UnusedOutput, ...] = ()
    file_targets: FileTargets | None = None


def read_model(session: Session, path: Path, stated: Stated) -> ReadModel:
    """What a file is. Raises ModelError unless it is an image model whose answers are understood."""
    props = session.get_modelmeta().custom_metadata_map
    try:
        if METADATA_KEY not in props:
            read = read_sidecars(path, props) if stated.sidecars else SidecarFacts()
            read = read.beside(labels=stated.labels, parts=stated.parts, size=stated.input_size_hw)
            return _read_plain_file(session, path, stated, read)
        return _read_explainable_file(session, path, stated, props[METADATA_KEY])
    except OnnxplainError as error:
        if str(error).startswith(str(path)):
            raise
        raise type(error)(f"{path}: {error}") from error


def _read_explainable_file(session: Session, path: Path, stated: Stated, text: str) -> ReadModel:
    spec = ModelSpec.from_json(text)
    written = spec.input
    shape = StatedShape(written.size_hw, written.layout, stated.parts.channels or written.preprocessing.channels)
    known = {extra.name for extra in spec.extra_inputs}
    declared = declared_inputs(session, besides=(*CONTROL_INPUTS, *(known - set(stated.inputs))), also=stated.inputs)
    chosen = inputs_of(path, declared, shape, stated.inputs)
    missing = set(spec.named_outputs) - {tensor.name for tensor in session.get_outputs()}
    if chosen.image.name != written.name:
        missing.add(written.name)
    if missing:
        raise ModelError(
            f"found no {', '.join(sorted(missing))} in the graph, expected all names in the metadata: the file was "
            "changed after it was instrumented, so instrument the original again"
        )
    OutputShapes(spec).check_declared(session)
    _check_stated(spec, stated)
    defaults = {tensor.name for tensor in session.get_overridable_initializers()}
    if OPENVINO in session.get_providers() and defaults.intersection(stated.inputs):
        raise ModelError(
            f"found a value for {', '.join(sorted(defaults.intersection(stated.inputs)))}, expected none on the "
            "openvino provider, which keeps the default in the file: instrument the original again with this value"
        )
    if stated.preprocessing is not None:
        parts = stated.parts.with_preset(chosen.image.dtype, chosen.image.channels, written.quantization)
        spec = spec.with_preprocessing(override(parts, Completed(written.preprocessing, written.origins)))
    others = {extra.name: extra for extra in chosen.extra}
    extra = tuple(others.get(each.name, each) for each in spec.extra_inputs)
    spec, file_targets = choose_default(replace(spec, extra_inputs=extra), stated.told_heads)
    return ReadModel(_with_labels(spec, stated.labels), chosen.image, file_targets=file_targets)


def _check_stated(spec: ModelSpec, stated: Stated) -> None:
    """Raise ModelError where the user states something else than an explainable file."""
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
    layout = spec.detector.layout_name if spec.detector else None
    if stated.detector not in (None, layout):
        raise ModelError(
            f"found {layout or 'no layout of detectors'} in the metadata, expected {stated.detector} as stated: leave "
            "out --detector, or give the original file"
        )
    if stated.heads and spec.detector is not None:
        raise ModelError(f"--head {stated.told_heads[0].name}: {spec.detector.no_heads}")


def _read_plain_file(session: Session, path: Path, stated: Stated, read: SidecarFacts) -> ReadModel:
    declared = [with_quantization(path, entry) for entry in declared_inputs(session, also=stated.inputs)]
    chosen, read = inputs_with_facts(path, declared, stated.shape, stated.inputs, read)
    image = chosen.image
    check_open_channels(path, declared, image, stated.shape)
    said, source = (PreprocessingParts(), None) if read.parts is None else (read.parts.value, read.parts.source)
    completed = complete_input(image, stated.parts, said, source)

    def zeros() -> dict[str, AnyArray]:
        """One batch of images of zeros, with what the other inputs are given."""
        images = np.zeros([image.batch or 1 if side is None else side for side in image.shape], image.dtype)
        sizes_hw = np.full((image.batch or 1, 2), image.size_hw, np.int64)
        return {image.name: images, **extra_arrays(chosen.extra, sizes_hw)}

    end = FileEnd(session, path, image, zeros)
    none = NoDetector()
    if not stated.heads:
        detector = find_plain_detector(session, path, end.outline, image, stated.of_detector, read)
        if isinstance(detector, DetectorSpec):
            completed = assumed_input(detector, image, stated.parts, said, source)
            detector, read = label_detector(detector, stated.of_detector.class_labels, read)
            spec = ModelSpec(_input_spec(image, completed), (), extra_inputs=chosen.extra, detector=detector)
            return ReadModel(spec, image, read)
        none = detector
    kind = None if read.kind is None else ReadKind(read.kind.value, read.kind.source)
    try:
        found = find_plain_heads(end.whole, stated.told_heads, kind)
    except ModelError as error:
        if not none.lacks:
            raise
        raise ModelError(f"{error}; {none}") from error
    spec = ModelSpec(_input_spec(image, completed), found.heads, extra_inputs=chosen.extra)
    owner, read = fit_labels(read, found.heads)
    if owner is not None and read.labels is not None and stated.labels is None:
        spec = spec.with_labels(read.labels.value, owner)
    return ReadModel(_with_labels(spec, stated.labels), image, read, found.unused)


def _input_spec(image: ImageInput, completed: Completed) -> InputSpec:
    preprocessing, origins = completed.preprocessing, completed.origins
    return InputSpec(image.name, image.layout, image.size_hw, preprocessing, origins, image.quantization)


def _with_labels(spec: ModelSpec, given: GivenLabels | None) -> ModelSpec:
    """The spec with the stated labels in place of its own."""
    if spec.detector is not None:
        labels = StatedDetector(labels=given).class_labels
        return spec if labels is None else spec.with_labels(labels)
    heads = {head.name: head for head in spec.heads}
    for name, labels in labels_by_head(given, spec.heads).items():
        spec = spec.with_labels(labels, heads[name])
    return spec
