"""The parts of the metadata: a model's input, outputs, box, layers and tail."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from onnxplain.contract.choices import BoxFormat, BoxUnits, Layout, check_choice
from onnxplain.contract.names import TAIL_FEATURES_INPUT, TAIL_LOGITS_OUTPUT
from onnxplain.contract.preprocessing import Preprocessing
from onnxplain.errors import ModelError, OnnxplainError

BOX_COORDINATES = 4
"""Number of values that a box head returns per image. As targets they come after the classes."""


@dataclass(frozen=True)
class InputSpec:
    """The model's image input: its name, memory layout, size and preprocessing.

    `assumed`: the user did not state the preprocessing, and a default was written.
    """

    name: str
    layout: Layout
    size_hw: tuple[int, int]
    preprocessing: Preprocessing
    assumed: bool = False

    def __post_init__(self) -> None:
        check_choice("layout", self.layout, Layout)
        object.__setattr__(self, "size_hw", _positive_pair("input size_hw", self.size_hw))


@dataclass(frozen=True)
class OutputRoles:
    """The name of the graph output for each role; None if the graph has no such output.

    `cam_weights` holds the weights w of the class activation map of the layer named `cam_layer`. `linear_head`: after
    that layer there are only a mean over the map and the product with w, no clamp and no rounding. The gradient of a
    logit is then the constant w_c / (h·w) for every image.
    """

    logits: str | None = None
    scores: str | None = None
    box: str | None = None
    cam_weights: str | None = None
    cam_layer: str | None = None
    linear_head: bool = False


@dataclass(frozen=True)
class BoxSpec:
    """What the four values of the box head mean. Coordinates refer to the model's input image."""

    format: BoxFormat = "cxcywh"
    units: BoxUnits = "normalized"

    def __post_init__(self) -> None:
        check_choice("box format", self.format, BoxFormat)
        check_choice("box units", self.units, BoxUnits)


@dataclass(frozen=True)
class LayerSpec:
    """An instrumented layer: its name, its two outputs and the shape of its feature maps."""

    name: str
    features: str
    gradients: str
    channels: int
    size_hw: tuple[int, int]

    def __post_init__(self) -> None:
        object.__setattr__(self, "size_hw", _positive_pair(f"layer {self.name} size_hw", self.size_hw))


@dataclass(frozen=True)
class TailSpec:
    """The tail file: the part of the model after `layer`. It takes feature maps and returns logits (and the raw box).

    `file` is its name in the folder of the model. `id` is written in the metadata of both files, here and under
    ``metadata_props["onnxplain_tail"]``; the tail of another model has another id. `input`, `logits` and `box` name
    its input and outputs; `box` is None if the model has no box head.
    """

    file: str
    id: str
    layer: str
    input: str = TAIL_FEATURES_INPUT
    logits: str = TAIL_LOGITS_OUTPUT
    box: str | None = None

    def __post_init__(self) -> None:
        if not self.file or any(mark in self.file for mark in "/\\"):
            raise ModelError(
                f"metadata: found tail file {self.file!r}, expected the name of a file in the model's folder: "
                "instrument the original file again"
            )


def _positive_pair(name: str, pair: Sequence[int]) -> tuple[int, int]:
    height, width = (int(value) for value in pair)
    if height < 1 or width < 1:
        raise OnnxplainError(f"{name}: found {height}x{width}, expected two positive numbers")
    return height, width
