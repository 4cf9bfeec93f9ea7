"""All parts of a graph at once: its image input, its heads, and the maps that lead to them."""

from __future__ import annotations

from dataclasses import dataclass

import onnx_ir as ir

from onnxplain.contract import Layout
from onnxplain.exporters.anatomy.arrangement import arrange
from onnxplain.exporters.anatomy.head import NoPooledHead, PooledHead, find_pooled_head
from onnxplain.exporters.anatomy.layers import Layer, find_layers
from onnxplain.exporters.anatomy.roles import Roles, find_image_value, find_roles


@dataclass(frozen=True)
class Anatomy:
    """What a graph consists of; `layers` are all that could be instrumented, in the graph's order."""

    image: ir.Value
    layout: Layout
    roles: Roles
    head: PooledHead | NoPooledHead
    layers: tuple[Layer, ...]


def study(graph: ir.Graph, logits: str | None = None, box: str | None = None) -> Anatomy:
    """The parts of a prepared graph; `logits` and `box` name what cannot be told. Raises ModelError."""
    image, layout = find_image_value(graph)
    roles = find_roles(graph, logits, box)
    layers = find_layers(graph, roles.targets, arrange(graph, image, layout))
    return Anatomy(image, layout, roles, find_pooled_head(roles.logits), tuple(layers))
