"""What the user states of a file; everything else is read from its graph."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from onnxplain.contract import BoxFormat, BoxUnits, Layout, ModelSpec, Preprocessing
from onnxplain.exporters.anatomy.layers import AUTO


@dataclass(frozen=True)
class Request:
    """What the user states of a file.

    `layers` are names, parts of names, shares such as ``50%``, or ``auto``. `gate`: gradients stand behind the input
    `explain`. `tail_of`: the file that the tail of the last layer will stand beside; None for no tail. `shuffle_seed`:
    with which the weights were shuffled, None if not.
    """

    layers: Sequence[str] = (AUTO,)
    logits: str | None = None
    box: str | None = None
    box_format: BoxFormat = "cxcywh"
    box_units: BoxUnits = "normalized"
    labels: Sequence[str] = ()
    preprocessing: Preprocessing | None = None
    layout: Layout | None = None
    required_inputs: bool = False
    gate: bool = True
    tail_of: Path | None = None
    shuffle_seed: int | None = None

    def or_as_before(self, earlier: ModelSpec) -> Request:
        """The same, completed by what an explainable file states of itself."""
        request = replace(self, labels=self.labels or earlier.labels, shuffle_seed=earlier.shuffle_seed)
        if self.preprocessing is None and not earlier.input.assumed:
            request = replace(request, preprocessing=earlier.input.preprocessing)
        if self.box is None and earlier.box is not None:
            box = earlier.box
            request = replace(request, box=earlier.outputs.box, box_format=box.format, box_units=box.units)
        return request
