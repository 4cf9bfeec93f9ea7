"""The explainable graph: names and metadata, contract version 1.

The only thing that exporters and runtime share. Exporters write these names and this JSON into a file, the
runtime reads them back with ``session.get_modelmeta().custom_metadata_map``; docs/contract.md tells the rest.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields, replace
from typing import Any, Literal, get_args

from onnxplain.errors import ModelError, OnnxplainError

CONTRACT_VERSION = 1
METADATA_KEY = "onnxplain"

TARGET_INPUT = "target"
EXPLAIN_INPUT = "explain"
CAM_WEIGHTS_OUTPUT = "cam_weights"
LOGITS_OUTPUT = "logits"
EXPLAINED_DIMENSION = "explained"

TAIL_SUFFIX = ".tail.onnx"
TAIL_METADATA_KEY = "onnxplain_tail"
TAIL_FEATURES_INPUT = "features"
TAIL_LOGITS_OUTPUT = "logits"
TAIL_BOX_OUTPUT = "box"

Layout = Literal["nchw", "nhwc"]
Channels = Literal["rgb", "bgr", "gray"]
Resize = Literal["crop", "stretch", "letterbox"]
BoxFormat = Literal["cxcywh", "xywh", "xyxy"]
BoxUnits = Literal["normalized", "pixels"]
Batch = Literal["auto", "dynamic", "fixed"]
Task = Literal["classification", "localization"]

LETTERBOX_GREY = 114
CROP_SHARE = 0.875


def features_output(layer: str) -> str:
    """Name of the output that carries the feature maps of `layer`."""
    return f"features/{layer}"


def gradients_output(layer: str) -> str:
    """Name of the output that carries d target / d features of `layer`."""
    return f"gradients/{layer}"


def _check_choice(name: str, value: object, choices: Any) -> None:
    allowed = get_args(choices)
    if value not in allowed:
        raise OnnxplainError(f"{name}: found {value!r}, expected one of {', '.join(allowed)}")


def _positive_pair(name: str, pair: Sequence[int]) -> tuple[int, int]:
    height, width = (int(value) for value in pair)
    if height < 1 or width < 1:
        raise OnnxplainError(f"{name}: found {height}x{width}, expected two positive numbers")
    return height, width


@dataclass(frozen=True)
class Preprocessing:
    """How pixels become the numbers that the model was trained on: ``(pixel · scale − mean) / std``.

    `mean` and `std` have one entry per channel, in the order that `channels` names; `pixel` is 0–255.
    `resize`: ``crop`` (short side to size / 0.875, then the centre), ``stretch``, or ``letterbox`` (the whole
    image, grey borders).
    """

    channels: Channels = "rgb"
    scale: float = 1.0
    mean: tuple[float, ...] = (0.0, 0.0, 0.0)
    std: tuple[float, ...] = (1.0, 1.0, 1.0)
    resize: Resize = "crop"

    def __post_init__(self) -> None:
        _check_choice("channels", self.channels, Channels)
        _check_choice("resize", self.resize, Resize)
        object.__setattr__(self, "scale", float(self.scale))
        for name in ("mean", "std"):
            values = tuple(float(value) for value in getattr(self, name))
            if len(values) == 1 and self.channel_count > 1:
                values *= self.channel_count
            if len(values) != self.channel_count:
                raise OnnxplainError(
                    f"preprocessing: {name} has {len(values)} values, but {self.channels} images have "
                    f"{self.channel_count} channels: give {self.channel_count} values, or one for all"
                )
            object.__setattr__(self, name, values)
        if not all(value > 0 for value in self.std):
            raise OnnxplainError(f"preprocessing: std must be positive, found {list(self.std)}")

    @property
    def channel_count(self) -> int:
        """Number of image channels."""
        return 1 if self.channels == "gray" else 3


PRESETS: Mapping[str, Preprocessing] = {
    "imagenet": Preprocessing("rgb", 1 / 255, (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)),
    "caffe": Preprocessing("bgr", 1.0, (104.0, 117.0, 123.0)),
    "inception": Preprocessing("rgb", 1 / 127.5, (1.0, 1.0, 1.0)),
    "raw": Preprocessing("rgb"),
}
GRAY_PRESETS: Mapping[str, Preprocessing] = {
    "imagenet": Preprocessing("gray", 1 / 255, (0.449,), (0.226,)),
    "inception": Preprocessing("gray", 1 / 127.5, (1.0,), (1.0,)),
    "raw": Preprocessing("gray", 1.0, (0.0,), (1.0,)),
}


@dataclass(frozen=True)
class InputSpec:
    """The model's image input: its name, memory layout, size and preprocessing.

    `assumed` is true where nobody stated the preprocessing and a default was written.
    """

    name: str
    layout: Layout
    size_hw: tuple[int, int]
    preprocessing: Preprocessing
    assumed: bool = False

    def __post_init__(self) -> None:
        _check_choice("layout", self.layout, Layout)
        object.__setattr__(self, "size_hw", _positive_pair("input size_hw", self.size_hw))


@dataclass(frozen=True)
class OutputRoles:
    """Which graph output plays which role; None where the graph has no such output.

    `cam_weights` holds the weights w of the class activation map of the layer named `cam_layer`. `linear_head`: nothing
    but a mean over the map and w stands behind that layer, no clamp and no rounding, so that the gradient of a logit is
    the constant w_c / (h·w) for every image.
    """

    logits: str | None = None
    scores: str | None = None
    box: str | None = None
    cam_weights: str | None = None
    cam_layer: str | None = None
    linear_head: bool = False


@dataclass(frozen=True)
class BoxSpec:
    """What the four numbers of the box head mean, in the frame of the model's input."""

    format: BoxFormat = "cxcywh"
    units: BoxUnits = "normalized"

    def __post_init__(self) -> None:
        _check_choice("box format", self.format, BoxFormat)
        _check_choice("box units", self.units, BoxUnits)


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
    """The part of the model behind `layer`, a file of its own: feature maps in, logits (and raw box) out.

    `file` is its name in the folder of the model. `id` stands in both files' metadata, here and under
    ``metadata_props["onnxplain_tail"]``: that of another model's tail differs. `input`, `logits` and `box` name its
    input and outputs; `box` is None where the model has no box head.
    """

    file: str
    id: str
    layer: str
    input: str = TAIL_FEATURES_INPUT
    logits: str = TAIL_LOGITS_OUTPUT
    box: str | None = None

    def __post_init__(self) -> None:
        if not self.file or any(mark in self.file for mark in "/\\"):
            raise ModelError(f"metadata: the tail is said to be {self.file!r}, expected the name of a file beside this")


@dataclass(frozen=True)
class ModelSpec:
    """All that a file says about itself; `layers` stand in the order of the graph, the last is the default.

    `tail` is the file of what lies behind the last layer, None where none was written. `shuffle_seed`: the model's
    weights were shuffled with this seed, so that it is good for sanity checks alone; None for any other model.
    """

    task: Task
    input: InputSpec
    outputs: OutputRoles
    classes: int
    box: BoxSpec | None = None
    layers: tuple[LayerSpec, ...] = ()
    labels: tuple[str, ...] = ()
    tail: TailSpec | None = None
    shuffle_seed: int | None = None
    version: int = field(default=CONTRACT_VERSION)

    def __post_init__(self) -> None:
        _check_choice("task", self.task, Task)
        if self.outputs.logits is None and self.outputs.scores is None:
            raise ModelError("metadata: neither a logits nor a scores output is named")
        if self.labels and len(self.labels) != self.classes:
            raise OnnxplainError(
                f"labels: found {len(self.labels)}, but the model has {self.classes} classes: give one label per class"
            )
        if (self.box is None) != (self.outputs.box is None):
            raise ModelError("metadata: a box output needs its format, and a format its output")
        if self.tail is not None and [layer.name for layer in self.layers][-1:] != [self.tail.layer]:
            raise ModelError(f"metadata: the tail belongs to {self.tail.layer!r}, which is not the last layer")

    def label(self, class_id: int) -> str:
        """The class's label, or its index as text where the file names no labels."""
        return self.labels[class_id] if self.labels else str(class_id)

    def with_preprocessing(self, preprocessing: Preprocessing) -> ModelSpec:
        """The same model, its preprocessing replaced by one that the user stated."""
        return replace(self, input=replace(self.input, preprocessing=preprocessing, assumed=False))

    def to_json(self) -> str:
        """The text that stands in ``metadata_props["onnxplain"]``."""
        tree = asdict(self)
        tree["input"].update(tree["input"].pop("preprocessing"))
        return json.dumps(tree, ensure_ascii=False)

    @classmethod
    def from_json(cls, text: str) -> ModelSpec:
        """Parse the metadata; raises ModelError for another version or a malformed tree."""
        try:
            tree = json.loads(text)
            version = tree["version"]
        except (ValueError, TypeError, KeyError) as error:
            raise ModelError(f"metadata: not onnxplain JSON ({error}): instrument the original file again") from error
        if version != CONTRACT_VERSION:
            raise ModelError(
                f"metadata: contract version {version}, this onnxplain reads version {CONTRACT_VERSION}: "
                "instrument the original file again with this onnxplain"
            )
        try:
            return _parse(tree)
        except (TypeError, KeyError, AttributeError, ValueError) as error:
            raise ModelError(f"metadata: malformed ({error}): instrument the original file again") from error


def _parse(tree: Mapping[str, Any]) -> ModelSpec:
    source = tree["input"]
    preprocessing = Preprocessing(**{f.name: source[f.name] for f in fields(Preprocessing)})
    return ModelSpec(
        task=tree["task"],
        input=InputSpec(
            source["name"], source["layout"], source["size_hw"], preprocessing, source.get("assumed", False)
        ),
        outputs=OutputRoles(**tree["outputs"]),
        classes=int(tree["classes"]),
        box=BoxSpec(**tree["box"]) if tree["box"] else None,
        layers=tuple(LayerSpec(**layer) for layer in tree["layers"]),
        labels=tuple(tree["labels"]),
        tail=TailSpec(**tree["tail"]) if tree.get("tail") else None,
        shuffle_seed=None if tree.get("shuffle_seed") is None else int(tree["shuffle_seed"]),
    )
