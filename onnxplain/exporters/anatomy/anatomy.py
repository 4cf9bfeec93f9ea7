"""The anatomy of a graph: its image input, its heads, and the feature maps that lead to them."""

from __future__ import annotations

from dataclasses import dataclass

import onnx_ir as ir

from onnxplain.contract import ImageInput, StatedShape
from onnxplain.exporters.anatomy.arrangement import arrange
from onnxplain.exporters.anatomy.head import NoPooledHead, PooledHead, find_pooled_head
from onnxplain.exporters.anatomy.layers import Layer, find_layers
from onnxplain.exporters.anatomy.roles import Roles, find_image_value, find_roles


@dataclass(frozen=True)
class Anatomy:
    """The parts of a graph. `layers` lists all feature maps that can be instrumented, in the graph's order.

    `image` is the value of the image input, `image_input` what is known about it.
    """

    image: ir.Value
    image_input: ImageInput
    roles: Roles
    head: PooledHead | NoPooledHead
    layers: tuple[Layer, ...]


def study(
    graph: ir.Graph, logits: str | None = None, box: str | None = None, shape: StatedShape | None = None
) -> Anatomy:
    """Find the parts of a prepared graph. Raises ModelError.

    `logits` and `box` name the class logits and the box head's output, if they cannot be found automatically. `shape`:
    what the user states about the input.
    """
    image, image_input = find_image_value(graph, shape)
    roles = find_roles(graph, logits, box)
    layers = find_layers(graph, roles.targets, arrange(graph, image, image_input.layout))
    return Anatomy(image, image_input, roles, find_pooled_head(roles.logits), tuple(layers))
