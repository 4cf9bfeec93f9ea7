"""The anatomy of a graph: its image input, its heads, and the feature maps that lead to them."""

from __future__ import annotations

from dataclasses import dataclass

import onnx_ir as ir

from onnxplain.contract import ImageInput, StatedShape
from onnxplain.exporters.anatomy.arrangement import arrange
from onnxplain.exporters.anatomy.found_maps import arrange_by_positions
from onnxplain.exporters.anatomy.frames import follow_positions, read_frames
from onnxplain.exporters.anatomy.head import NoPooledHead, PooledHead, find_pooled_head
from onnxplain.exporters.anatomy.layers import Layer, Unplaced, find_layers
from onnxplain.exporters.anatomy.live import live_values
from onnxplain.exporters.anatomy.roles import Roles, find_image_value, find_roles


@dataclass(frozen=True)
class Anatomy:
    """The parts of a graph. `layers` lists all feature maps that can be instrumented, in the graph's order.

    `image` is the value of the image input, `image_input` what is known about it. `unplaced`: maps that would be layers
    if it were known where they lie in the image.
    """

    image: ir.Value
    image_input: ImageInput
    roles: Roles
    head: PooledHead | NoPooledHead
    layers: tuple[Layer, ...]
    unplaced: tuple[Unplaced, ...] = ()


def study(
    graph: ir.Graph, logits: str | None = None, box: str | None = None, shape: StatedShape | None = None
) -> Anatomy:
    """Find the parts of a prepared graph. Raises ModelError.

    `logits` and `box` name the class logits and the box head's output, if they cannot be found automatically. `shape`:
    what the user states about the input.
    """
    image, image_input = find_image_value(graph, shape)
    roles = find_roles(graph, logits, box)
    layout = image_input.layout
    places = follow_positions(graph, image, layout)
    arrangements = arrange(graph, image, layout)
    arrangements |= arrange_by_positions(places, arrangements)
    frames = read_frames(places, arrangements, image_input.size_hw) if places else {}
    live = live_values(graph, roles.targets, places)
    layers, unplaced = find_layers(graph, roles.targets, arrangements, frames, live)
    return Anatomy(image, image_input, roles, find_pooled_head(roles.logits), tuple(layers), tuple(unplaced))
