"""Listing the feature maps of a plain file that can be instrumented, and the methods that each supports."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from onnxplain.contract import Channels, GivenHeads, GivenInputs, Layout, PreprocessingParts
from onnxplain.contract.arguments import checked
from onnxplain.exporters.anatomy.anatomy import Anatomy, study
from onnxplain.exporters.anatomy.layers import Layer
from onnxplain.exporters.anatomy.pooled_head import PooledHead
from onnxplain.exporters.file.bad_graph import refuses_bad_graphs
from onnxplain.exporters.file.model_file import prepare
from onnxplain.exporters.gradient.differentiate import is_differentiable
from onnxplain.exporters.graph.path import path_between
from onnxplain.exporters.writing.chosen_layers import automatic_layers
from onnxplain.exporters.writing.detector_request import settle_detector
from onnxplain.exporters.writing.original import open_original
from onnxplain.exporters.writing.request import Request


@dataclass(frozen=True)
class Candidate:
    """A feature map that `instrument --layer` accepts.

    `share`: the share of the network's multiply-adds before this map. `chosen`: whether ``auto`` selects it; of a
    detector, it selects several.
    `methods`: the methods that it would support. If an operator after it has no gradient rule, no method that needs
    gradients is among them.
    """

    name: str
    channels: int
    size_hw: tuple[int, int]
    share: float
    chosen: bool
    methods: tuple[str, ...]


@refuses_bad_graphs
@checked
def survey(
    source: str | Path,
    *,
    heads: GivenHeads = (),
    logits: str | None = None,
    box: str | None = None,
    inputs: GivenInputs | None = None,
    input_size_hw: tuple[int, int] | None = None,
    layout: Layout | None = None,
    channels: Channels | None = None,
    detector: str | None = None,
) -> tuple[Candidate, ...]:
    """The feature maps of an ONNX file that lead to its outputs, in the graph's order.

    The parameters and the ModelError are the same as for `instrument`; `channels` closes open channels.
    """
    request = Request(
        heads=heads,
        logits=logits,
        box=box,
        preprocessing=PreprocessingParts(channels=channels),
        input_size_hw=input_size_hw,
        layout=layout,
        detector_layout=detector,
    )
    opened = open_original(Path(source), request, inputs or {})
    graph = prepare(opened.original, constants=opened.constants).graph
    request = settle_detector(opened.request, graph)
    anatomy = study(graph, request.asked, request.shape, request.detector)
    layers = anatomy.layers
    if not layers:
        return ()
    automatic = automatic_layers(graph, anatomy)
    total = max(layer.macs_before for layer in layers) or 1
    return tuple(
        Candidate(
            layer.name,
            layer.channels,
            layer.size_hw,
            layer.macs_before / total,
            any(layer is each for each in automatic),
            _methods(layer, anatomy),
        )
        for layer in layers
    )


def _methods(layer: Layer, anatomy: Anatomy) -> tuple[str, ...]:
    head = anatomy.pooled
    methods = ["cam"] if isinstance(head, PooledHead) and head.layer is layer.tap else []
    if is_differentiable(path_between(layer.tap, anatomy.targets)):
        methods += ["grad-cam"] if anatomy.detector is None else ["hires-cam", "layer-cam"]
    return (*methods, "rise")
