"""The settings that the user states for a file; everything else is read from its graph."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from onnxplain.contract import (
    BoxFormat,
    BoxUnits,
    Completed,
    Layout,
    ModelSpec,
    Preprocessing,
    PreprocessingParts,
    StatedShape,
    as_parts,
)
from onnxplain.contract.metadata_checks import check_labels
from onnxplain.exporters.anatomy.layers import AUTO
from onnxplain.sidecars import SidecarFacts


@dataclass(frozen=True)
class Request:
    """The settings that the user states for a file.

    `layers` are names, parts of names, shares such as ``50%``, or ``auto``. `gate`: the input `explain` switches the
    gradients on. `tail_of`: the model file beside which the tail of the last layer will be written; None for no tail.
    `shuffle_seed`: the seed with which the weights were shuffled; None if they were not. `read`: what other tools say,
    for everything that the user does not state, as far as it fits the image input. `earlier`: the preprocessing of a
    file that was explainable before; it takes the place of what is read and assumed.
    """

    layers: Sequence[str] = (AUTO,)
    logits: str | None = None
    box: str | None = None
    box_format: BoxFormat = "cxcywh"
    box_units: BoxUnits = "normalized"
    labels: Sequence[str] = ()
    preprocessing: Preprocessing | PreprocessingParts | None = None
    input_size_hw: tuple[int, int] | None = None
    layout: Layout | None = None
    required_inputs: bool = False
    gate: bool = True
    tail_of: Path | None = None
    shuffle_seed: int | None = None
    read: SidecarFacts = field(default_factory=SidecarFacts)
    earlier: Completed | None = None

    def __post_init__(self) -> None:
        check_labels(self.labels)
        object.__setattr__(self, "labels", tuple(self.labels))

    @property
    def parts(self) -> PreprocessingParts:
        """The parts of the preprocessing that are stated."""
        return as_parts(self.preprocessing)

    @property
    def shape(self) -> StatedShape:
        """What the user states about the shape of the input."""
        return StatedShape(self.input_size_hw, self.layout, self.parts.channels)

    def or_as_before(self, earlier: ModelSpec) -> Request:
        """This request, with settings that the user left out taken from the metadata of an explainable file."""
        written = earlier.input
        preprocessing = written.preprocessing
        if self.box is not None and written.origins.resize.kind == "assumed":
            preprocessing = replace(preprocessing, resize="stretch")
        request = replace(
            self,
            labels=self.labels or earlier.labels,
            shuffle_seed=earlier.shuffle_seed,
            layout=self.layout or written.layout,
            earlier=Completed(preprocessing, written.origins),
        )
        if self.box is None and earlier.box is not None:
            box = earlier.box
            request = replace(request, box=earlier.outputs.box, box_format=box.format, box_units=box.units)
        return request
