"""The settings that the user states for a file; everything else is read from its graph."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from onnxplain.contract import (
    BoxFormat,
    BoxUnits,
    Completed,
    GivenHeads,
    GivenLabels,
    ImageInput,
    Layout,
    ModelSpec,
    Preprocessing,
    PreprocessingParts,
    Quantization,
    ReadKind,
    StatedHead,
    StatedShape,
    as_parts,
    read_stated,
    stated_default,
)
from onnxplain.contract.detectors import DetectorSpec
from onnxplain.contract.metadata_checks import check_labels
from onnxplain.exporters.anatomy.heads import AskedHeads
from onnxplain.exporters.anatomy.layers import AUTO
from onnxplain.sidecars import SidecarFacts


@dataclass(frozen=True)
class Request:
    """The settings that the user states for a file.

    `layers` are names, parts of names, shares such as ``50%``, or ``auto``. `heads`: what is said of the outputs;
    `logits` and `box` are other words for ``NAME:classes`` and ``NAME:box``. `labels`: of the default head, or by the
    name of a head. `gate`: the input `explain` switches the
    gradients on. `tail_of`: the model file beside which the tail of the last layer will be written; None for no tail.
    `shuffle_seed`: the seed with which the weights were shuffled; None if they were not. `read`: what other tools say,
    for everything that the user does not state, as far as it fits the image input. `earlier`: the preprocessing of a
    file that was explainable before; it takes the place of what is read and assumed. `quantization` and
    `channels_source`: those of the image input (`ImageInput`). `detector_layout`: the layout that the user states of a
    detector; `detector`: the detector that the file is, None for other models.
    """

    layers: Sequence[str] = (AUTO,)
    heads: GivenHeads = ()
    logits: str | None = None
    box: str | None = None
    box_format: BoxFormat = "cxcywh"
    box_units: BoxUnits = "normalized"
    labels: GivenLabels = ()
    preprocessing: Preprocessing | PreprocessingParts | None = None
    input_size_hw: tuple[int, int] | None = None
    layout: Layout | None = None
    required_inputs: bool = False
    gate: bool = True
    tail_of: Path | None = None
    shuffle_seed: int | None = None
    read: SidecarFacts = field(default_factory=SidecarFacts)
    earlier: Completed | None = None
    earlier_labels: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    quantization: Quantization | None = None
    channels_source: str | None = None
    detector_layout: str | None = None
    detector: DetectorSpec | None = None

    def __post_init__(self) -> None:
        check_labels(self.labels)
        if not isinstance(self.labels, Mapping):
            object.__setattr__(self, "labels", tuple(self.labels))

    @property
    def asked(self) -> AskedHeads:
        """What is said of the heads."""
        stated = [read_stated(head) for head in self.heads]
        options = {}
        if self.logits is not None:
            stated.append(StatedHead(self.logits, "classes"))
            options[self.logits] = "--logits"
        if self.box is not None:
            stated.append(StatedHead(self.box, "box"))
            options[self.box] = "--box"
        kind = self.read.kind
        read = None if kind is None else ReadKind(kind.value, kind.source)
        return AskedHeads(tuple(stated), stated_default(stated), read, options)

    @property
    def parts(self) -> PreprocessingParts:
        """The parts of the preprocessing that are stated."""
        return as_parts(self.preprocessing)

    @property
    def shape(self) -> StatedShape:
        """What the user states about the shape of the input."""
        return StatedShape(self.input_size_hw, self.layout, self.parts.channels)

    def of_input(self, image: ImageInput, earlier: ModelSpec | None) -> Request:
        """This request for that image input.

        Files written earlier know no quantization: their preprocessing gives integers, and is changed to real values.
        """
        before, quantization = self.earlier, image.quantization
        if before is not None and earlier is not None and earlier.input.quantization is None and quantization:
            before = replace(before, preprocessing=quantization.real(before.preprocessing))
        return replace(
            self,
            layout=image.layout,
            earlier=before,
            quantization=quantization,
            channels_source=image.channels_source,
        )

    def or_as_before(self, earlier: ModelSpec, outputs: Sequence[str] = ()) -> Request:
        """This request, with settings that the user left out taken from the metadata of an explainable file.

        `outputs`: the outputs of the plain model. Those that belonged to no head stay without one.
        """
        written = earlier.input
        preprocessing = written.preprocessing
        if self.box is not None and written.origins.resize.kind == "assumed":
            preprocessing = replace(preprocessing, resize="stretch")
        request = replace(
            self,
            shuffle_seed=earlier.shuffle_seed,
            layout=self.layout or written.layout,
            earlier=Completed(preprocessing, written.origins),
        )
        if earlier.detector is not None:
            return replace(request, detector=None if self.asked.stated else earlier.detector)
        if self.box is None and earlier.box is not None:
            box = earlier.box
            request = replace(request, box=earlier.outputs.box, box_format=box.format, box_units=box.units)
        if earlier.head.evidence.kind == "metadata":  # Written in version 1.
            return replace(request, labels=self.labels or earlier.labels)
        return request._with_heads_of(earlier, outputs)

    def _with_heads_of(self, earlier: ModelSpec, outputs: Sequence[str]) -> Request:
        known = {head.name for head in self.asked.stated}
        told = [
            StatedHead(head.name, head.kind)
            for head in earlier.heads
            if head.name not in known and head.evidence.kind in ("stated", "read")
        ]
        # A default that is stated with its kind alone would stand behind classes that were stated earlier.
        named = any(head.kind is None for head in self.asked.stated)
        default = [] if named else [StatedHead(self.asked.default or earlier.head.name)]
        held = {name for head in earlier.heads for name in (head.name, head.logits, head.scores)}
        left = [StatedHead(name, "none") for name in outputs if name not in held | known]
        labels = {head.name: head.labels for head in earlier.heads if head.labels}
        return replace(self, heads=(*self.heads, *told, *default, *left), earlier_labels=labels)
