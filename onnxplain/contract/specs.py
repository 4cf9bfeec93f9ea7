"""The parts of the metadata: a model's input, outputs, box, layers and tail."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from onnxplain.contract.choices import Layout, check_choice
from onnxplain.contract.expected import LARGEST_SIDE, Listed, Whole
from onnxplain.contract.names import TAIL_FEATURES_INPUT, TAIL_LOGITS_OUTPUT
from onnxplain.contract.origins import Origins
from onnxplain.contract.preprocessing import Preprocessing
from onnxplain.contract.quantization import Quantization
from onnxplain.errors import ModelError

ExtraFill = Literal["constant", "image_size_hw", "image_size_wh"]

# Of a pixel: what two frames may differ by and still count as the same.
_SAME_PLACE = 1e-3


@dataclass(frozen=True)
class InputSpec:
    """The model's image input: its name, memory layout, size and preprocessing.

    `origins` says of each part of the preprocessing whether it was stated, read from a file, or assumed.
    `quantization`: what the integers of the input stand for; the preprocessing gives these real values. None: it gives
    the values of the input itself, as in files that do not mention it. Raises OnnxplainError if the integers cannot
    hold the real values.
    """

    name: str
    layout: Layout
    size_hw: tuple[int, int]
    preprocessing: Preprocessing
    origins: Origins = field(default_factory=Origins)
    quantization: Quantization | None = None

    def __post_init__(self) -> None:
        check_choice("layout", self.layout, Layout)
        if self.quantization is not None:
            self.quantization.check(self.preprocessing)
        object.__setattr__(self, "size_hw", _positive_pair("input size_hw", self.size_hw))

    @property
    def assumed(self) -> bool:
        """Whether any part of the preprocessing is assumed."""
        return bool(self.origins.assumed)


@dataclass(frozen=True)
class OutputRoles:
    """The outputs of the default head and its box, and of class activation maps; None for what does not exist."""

    logits: str | None = None
    scores: str | None = None
    box: str | None = None
    cam_weights: str | None = None
    cam_layer: str | None = None
    linear_head: bool = False


@dataclass(frozen=True)
class CamSpec:
    """The class activation maps of the default head.

    `weights` names the output that holds their weights w, `layer` the layer that they belong to. `linear`: after that
    layer there are only a mean over the map and the product with w, no clamp and no rounding. The gradient of a logit
    is then the constant w_c / (h·w) for every image.
    """

    weights: str
    layer: str
    linear: bool = False


@dataclass(frozen=True)
class ExtraInput:
    """An input of the model besides the image.

    `shape`: its dimensions; None for a batch that is open. `fill`: what it is given. "constant": the default that the
    file keeps, or `value`, flat, which a plain file is fed with. "image_size_hw", "image_size_wh": the size of the
    original image in pixels, one row per image.
    """

    name: str
    dtype: str
    shape: tuple[int | None, ...]
    fill: ExtraFill = "constant"
    value: tuple[float, ...] | None = None

    def __post_init__(self) -> None:
        check_choice("fill of an extra input", self.fill, ExtraFill)
        object.__setattr__(self, "shape", tuple(self.shape))
        object.__setattr__(self, "value", None if self.value is None else tuple(self.value))


@dataclass(frozen=True)
class CellSpan:
    """A `MapFrame` along one axis: cell i covers [offset + scale · i, offset + scale · (i + 1))."""

    scale: float
    offset: float
    seen: tuple[float, float]


@dataclass(frozen=True)
class MapFrame:
    """Where a feature map lies in the model's input, rows first, in pixels of the input.

    Cell i of an axis covers [offset + scale · i, offset + scale · (i + 1)). `seen_hw`: the part [start, stop) of each
    axis that the map depends on; what lies outside was cropped away inside the model.
    """

    scale_hw: tuple[float, float]
    offset_hw: tuple[float, float]
    seen_hw: tuple[tuple[float, float], tuple[float, float]]

    def __post_init__(self) -> None:
        for name in ("scale_hw", "offset_hw"):
            height, width = (float(value) for value in getattr(self, name))
            object.__setattr__(self, name, (height, width))
        rows, columns = ((float(start), float(stop)) for start, stop in self.seen_hw)
        object.__setattr__(self, "seen_hw", (rows, columns))
        if min(self.scale_hw) <= 0 or any(start >= stop for start, stop in self.seen_hw):
            raise ModelError(f"metadata: found the frame {self}, expected positive scales and parts that are not empty")

    @classmethod
    def over(cls, input_size_hw: tuple[int, int], size_hw: tuple[int, int]) -> MapFrame:
        """The frame of a map that is spread evenly over the whole input."""
        (height, width), (rows, columns) = input_size_hw, size_hw
        return cls((height / rows, width / columns), (0.0, 0.0), ((0.0, height), (0.0, width)))

    @property
    def rows(self) -> CellSpan:
        """The frame along the height."""
        return CellSpan(self.scale_hw[0], self.offset_hw[0], self.seen_hw[0])

    @property
    def columns(self) -> CellSpan:
        """The frame along the width."""
        return CellSpan(self.scale_hw[1], self.offset_hw[1], self.seen_hw[1])

    def is_close_to(self, other: MapFrame, size_hw: tuple[int, int]) -> bool:
        """Whether both place the cells of a map of `size_hw`, and the ends of what it sees, within 1/1000 pixel."""
        return all(
            abs(mine - theirs) <= _SAME_PLACE
            for axis, cells in enumerate(size_hw)
            for mine, theirs in zip(self._edges(axis, cells), other._edges(axis, cells), strict=True)
        )

    def _edges(self, axis: int, cells: int) -> tuple[float, ...]:
        offset = self.offset_hw[axis]
        return offset, offset + cells * self.scale_hw[axis], *self.seen_hw[axis]


@dataclass(frozen=True)
class LayerSpec:
    """An instrumented layer: its name, its two outputs and the shape of its feature maps.

    `frame`: where the maps lie in the model's input; None in files of contract version 1, whose maps are spread over
    the whole input. `many_targets`: whether one run differentiates several targets of one image.
    """

    name: str
    features: str
    gradients: str
    channels: int
    size_hw: tuple[int, int]
    frame: MapFrame | None = None
    many_targets: bool = False

    def __post_init__(self) -> None:
        object.__setattr__(self, "size_hw", _positive_pair(f"layer {self.name} size_hw", self.size_hw))

    @classmethod
    def of_tree(cls, source: Mapping[str, Any]) -> LayerSpec:
        """A layer of the metadata; its frame stands in the file since version 2."""
        frame = source.get("frame")
        return cls(**{**source, "frame": None if frame is None else MapFrame(**frame)})


@dataclass(frozen=True)
class TailSpec:
    """The tail file: the part of the model after `layer`. It takes feature maps and returns what the heads return.

    `file` is its name in the folder of the model. `id` is written in the metadata of both files, here and under
    ``metadata_props["onnxplain_tail"]``; the tail of another model has another id. `input` names its input, `outputs`
    one output per head of the model, in the order of the heads.
    """

    file: str
    id: str
    layer: str
    input: str = TAIL_FEATURES_INPUT
    outputs: tuple[str, ...] = (TAIL_LOGITS_OUTPUT,)

    def __post_init__(self) -> None:
        object.__setattr__(self, "outputs", tuple(self.outputs))
        if self.file in ("", ".", "..") or any(mark in self.file for mark in "/\\\0"):
            raise ModelError(
                f"metadata: found tail file {self.file!r}, expected the name of a file in the model's folder: "
                "instrument the original file again"
            )


def _positive_pair(name: str, pair: Sequence[int]) -> tuple[int, int]:
    Listed(Whole(1, LARGEST_SIDE), 2, least=2).check(name, pair)
    height, width = (int(value) for value in pair)
    return height, width
