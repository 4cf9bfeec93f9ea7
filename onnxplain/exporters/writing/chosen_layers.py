"""The layers of a graph that the user asked for."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

import onnx_ir as ir

from onnxplain.contract import ATTENTION_LAYER, INPUT_LAYER
from onnxplain.errors import ModelError, UnsupportedError
from onnxplain.exporters.anatomy.anatomy import Anatomy
from onnxplain.exporters.anatomy.heads import Head
from onnxplain.exporters.anatomy.layers import AUTO, Layer, automatic_layer, choose_layers
from onnxplain.exporters.anatomy.level_maps import level_maps
from onnxplain.exporters.gradient.zero import has_gradient
from onnxplain.exporters.graph.path import path_between
from onnxplain.exporters.graph.values import maybe_dims, name_of, upstream
from onnxplain.exporters.writing.request import Request


def chosen_layers(graph: ir.Graph, anatomy: Anatomy, request: Request, taps: Mapping[str, ir.Value]) -> list[Layer]:
    """The layers that the user asked for. Raises ModelError if one does not lead to all heads of the model."""
    if ATTENTION_LAYER in request.layers and anatomy.detector is not None:
        raise UnsupportedError(
            f"layer {ATTENTION_LAYER}: found a detector, expected a model with heads: leave this layer out"
        )
    if taps:
        chosen = _tapped(anatomy, taps)
    elif anatomy.detector is not None:
        if INPUT_LAYER in request.layers and all(layer.name != INPUT_LAYER for layer in anatomy.layers):
            raise UnsupportedError(
                f"layer {INPUT_LAYER}: found a detector, expected a model with heads: leave this layer out"
            )
        levels = [layer.name for layer in level_maps(graph, anatomy.detector, anatomy.layers)]
        wanted = [name for asked in request.layers for name in (levels if asked == AUTO and levels else [asked])]
        chosen = choose_layers(anatomy.layers, wanted, None, anatomy.unplaced)
    else:
        asks_for_input = INPUT_LAYER in request.layers and all(each.name != INPUT_LAYER for each in anatomy.layers)
        others = (*([INPUT_LAYER] if asks_for_input else []), ATTENTION_LAYER)
        named = [name for name in request.layers if name not in others]
        _check_names(graph, anatomy, named)
        # The image alone would be every method's default, and the attention is no map.
        added = asks_for_input or ATTENTION_LAYER in request.layers
        wanted = [AUTO] if added and not named else named
        chosen = choose_layers(anatomy.layers, wanted, anatomy.preferred, anatomy.unplaced)
        chosen = [anatomy.input_layer, *chosen] if asks_for_input else chosen
    _check_reach_heads(chosen, anatomy.heads)
    return chosen


def automatic_layers(graph: ir.Graph, anatomy: Anatomy) -> tuple[Layer, ...]:
    """The layers that ``auto`` means: one, or of a detector several; none where no layer has a gradient."""
    levels = () if anatomy.detector is None else level_maps(graph, anatomy.detector, anatomy.layers)
    last = automatic_layer(anatomy.layers, anatomy.preferred)
    return levels or (() if last is None else (last,))


def _tapped(anatomy: Anatomy, taps: Mapping[str, ir.Value]) -> list[Layer]:
    chosen: list[Layer] = []
    for layer in anatomy.layers:
        names = [name for name, value in taps.items() if value is layer.tap]
        chosen.extend(replace(layer, name=name) for name in names)
    missing = set(taps) - {layer.name for layer in chosen}
    for entry in anatomy.unplaced:
        for name in missing:
            if taps[name] is entry.tap:
                raise ModelError(
                    f"layer {name!r}: where its map lies in the image is not known, because {entry.end}: choose an "
                    "earlier module"
                )
    if missing:
        raise ModelError(
            f"layer {', '.join(sorted(missing))}: found an output that is no map leading to the outputs, expected such "
            "a map: choose another module, or auto"
        )
    return chosen


def _check_names(graph: ir.Graph, anatomy: Anatomy, wanted: Sequence[str]) -> None:
    """Say why a value that bears a wanted name is no layer."""
    first, found = anatomy.heads[0].value, anatomy.layers
    known = {layer.name for layer in found} | {entry.name for entry in anatomy.unplaced}
    leading = {output for node in upstream(first) for output in node.outputs}
    for value in (output for node in graph for output in node.outputs):
        name = name_of(value)
        if name not in wanted or name in known:
            continue
        if value not in leading:
            raise ModelError(f"layer {name!r} does not lead to the logits {first.name!r}: choose an earlier layer")
        if not any(name in layer.name for layer in found):
            raise ModelError(
                f"layer {name!r}: found shape {list(maybe_dims(value) or ())}, expected a map [N, K, h, w] with "
                "several positions, or tokens that form such a map: choose another layer"
            )


def _check_reach_heads(layers: Sequence[Layer], heads: Sequence[Head]) -> None:
    """Raise ModelError if a layer does not lead to a head, or if the gradient of a head is zero whatever the image."""
    for head in heads if len(heads) > 1 else ():
        named = f"the {head.kind} head" if head.kind == "box" else f"the head {head.name!r}"
        for layer in layers:
            if layer.tap is not head.value and not path_between(layer.tap, [head.value]):
                raise ModelError(
                    f"layer {layer.name!r} does not lead to {named}: choose an earlier layer, or leave that head out, "
                    f"--head {head.name}:none"
                )
        zero = [layer.name for layer in layers if not has_gradient(head.value, layer.tap)]
        if zero:
            raise ModelError(
                f"{named}: its gradient is zero at layer {', '.join(map(repr, zero))} for every image, since every "
                f"path passes an operator without a derivative: leave that head out, --head {head.name}:none"
            )
