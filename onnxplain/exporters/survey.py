"""Listing the feature maps of a plain file that can be instrumented, and the methods that each supports."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from onnxplain.contract import Channels, Layout, StatedShape, read_image_input
from onnxplain.exporters.anatomy.anatomy import Anatomy, study
from onnxplain.exporters.anatomy.head import PooledHead
from onnxplain.exporters.anatomy.layers import Layer, automatic_layer
from onnxplain.exporters.file.close_input import close_input, declare_input
from onnxplain.exporters.file.detectors import refuse_detector_file
from onnxplain.exporters.file.model_file import load_proto, prepare
from onnxplain.exporters.file.strip import earlier_spec, strip_instrumentation
from onnxplain.exporters.gradient.differentiate import is_differentiable
from onnxplain.exporters.graph.path import path_between


@dataclass(frozen=True)
class Candidate:
    """A feature map that `instrument --layer` accepts.

    `share`: the share of the network's multiply-adds before this map. `chosen`: whether ``auto`` selects it.
    `methods`: the methods that it would support. If an operator after it has no gradient rule, no method that needs
    gradients is among them.
    """

    name: str
    channels: int
    size_hw: tuple[int, int]
    share: float
    chosen: bool
    methods: tuple[str, ...]


def survey(
    source: str | Path,
    *,
    logits: str | None = None,
    box: str | None = None,
    input_size_hw: tuple[int, int] | None = None,
    layout: Layout | None = None,
    channels: Channels | None = None,
) -> tuple[Candidate, ...]:
    """The feature maps of an ONNX file that lead to its outputs, in the graph's order.

    The parameters and the ModelError are the same as for `instrument`; `channels` closes open channels.
    """
    proto, shape = load_proto(Path(source)), StatedShape(input_size_hw, layout, channels)
    earlier = earlier_spec(proto)
    if earlier is not None:
        proto = strip_instrumentation(proto, earlier)
        box = box or earlier.outputs.box
        spec = earlier.input
        shape = StatedShape(spec.size_hw, spec.layout, spec.preprocessing.channels)
    declared = declare_input(proto)
    image = None if declared is None else read_image_input(declared, shape)
    refuse_detector_file(proto, image, logits)
    if image is not None:
        close_input(proto, image)
    anatomy = study(prepare(proto).graph, logits, box, shape)
    layers = anatomy.layers
    if not layers:
        return ()
    automatic = automatic_layer(layers, anatomy.head)
    total = max(layer.macs_before for layer in layers) or 1
    return tuple(
        Candidate(
            layer.name,
            layer.channels,
            layer.size_hw,
            layer.macs_before / total,
            layer is automatic,
            _methods(layer, anatomy),
        )
        for layer in layers
    )


def _methods(layer: Layer, anatomy: Anatomy) -> tuple[str, ...]:
    head = anatomy.head
    methods = ["cam"] if isinstance(head, PooledHead) and head.layer is layer.tap else []
    if is_differentiable(path_between(layer.tap, anatomy.roles.targets)):
        methods.append("grad-cam")
    return (*methods, "rise")
