"""The anatomy of a graph: its image input, its heads, and the feature maps that lead to them."""

from __future__ import annotations

from dataclasses import dataclass

import onnx_ir as ir

from onnxplain.contract import Layout
from onnxplain.exporters.anatomy.arrangement import arrange
from onnxplain.exporters.anatomy.found_maps import arrange_by_positions
from onnxplain.exporters.anatomy.frames import follow_positions, read_frames
from onnxplain.exporters.anatomy.head import NoPooledHead, PooledHead, find_pooled_head
from onnxplain.exporters.anatomy.layers import Layer, Unplaced, find_layers
from onnxplain.exporters.anatomy.live import live_values
from onnxplain.exporters.anatomy.roles import Roles, find_image_value, find_roles
from onnxplain.exporters.graph.values import static_dims


@dataclass(frozen=True)
class Anatomy:
    """What a graph consists of; `layers` are all that could be instrumented, in the graph's order.

    `unplaced`: maps that would be layers if it were known where they lie in the image.
    """

    image: ir.Value
    layout: Layout
    roles: Roles
    head: PooledHead | NoPooledHead
    layers: tuple[Layer, ...]
    unplaced: tuple[Unplaced, ...] = ()


def study(graph: ir.Graph, logits: str | None = None, box: str | None = None) -> Anatomy:
    """Find the parts of a prepared graph. Raises ModelError.

    `logits` and `box` name the class logits and the box head's output, if they cannot be found automatically.
    """
    image, layout = find_image_value(graph)
    roles = find_roles(graph, logits, box)
    places = follow_positions(graph, image, layout)
    arrangements = arrange(graph, image, layout)
    arrangements |= arrange_by_positions(places, arrangements)
    frames = {}
    if places:
        height, width = static_dims(image, (2, 3) if layout == "nchw" else (1, 2))
        frames = read_frames(places, arrangements, (height, width))
    live = live_values(graph, roles.targets, places)
    layers, unplaced = find_layers(graph, roles.targets, arrangements, frames, live)
    return Anatomy(image, layout, roles, find_pooled_head(roles.logits), tuple(layers), tuple(unplaced))
