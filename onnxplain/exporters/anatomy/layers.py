"""Finding the feature maps of a graph, and choosing those that the user asks for.

A layer is a float map with more than one position on a path from the image to the logits. It is [N, K, h, w], or has
its channels last, or is a sequence of tokens. The output of an operator that only passes a map on (Identity, Dropout,
Cast, dequantization) counts as the same map.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

import onnx_ir as ir

from onnxplain.contract import MapFrame
from onnxplain.errors import ModelError
from onnxplain.exporters.anatomy.arrangement import Arrangement, channels_of
from onnxplain.exporters.anatomy.pooled_head import tap_point
from onnxplain.exporters.anatomy.positions import FrameEnd
from onnxplain.exporters.graph.values import (
    FLOATS,
    computed_values,
    int_attribute,
    maybe_dims,
    name_of,
    producer_of,
    upstream,
)
from onnxplain.exporters.operators.operator import Hands, Places
from onnxplain.exporters.operators.table import hands_on, operator_of

AUTO = "auto"
MAX_LISTED = 12
# Masks and pictures, not features.
PICTURE_CHANNELS = (1, 3)


@dataclass(frozen=True)
class Layer:
    """A map that can be instrumented.

    `tap` is the value that the gradient is taken at: the map itself, or the integers it is dequantized from.
    `arrangement` tells how it holds [N, K, h, w]. `macs_before` counts the multiply-adds from the image up to and
    including the map. `frame`: where the map lies in the model's input. `live`: whether its positions lead to every
    output. `automatic`: whether ``auto`` and shares may choose it: a live map, not the inside of a transformer block,
    nor something like a picture.
    """

    name: str
    tap: ir.Value
    arrangement: Arrangement
    channels: int
    macs_before: int
    frame: MapFrame
    automatic: bool = True
    live: bool = True

    @property
    def size_hw(self) -> tuple[int, int]:
        """Height and width of the map."""
        return self.arrangement.size_hw


@dataclass(frozen=True)
class Unplaced:
    """A map that leads to the outputs, but is no layer: an operator ended its frame."""

    name: str
    tap: ir.Value
    end: FrameEnd


def find_layers(
    graph: ir.Graph,
    targets: Sequence[ir.Value],
    arrangements: Mapping[ir.Value, Arrangement],
    frames: Mapping[ir.Value, MapFrame | FrameEnd],
    live: Collection[ir.Value],
    *,
    every: bool = True,
) -> tuple[list[Layer], list[Unplaced]]:
    """All maps that every target depends on, in the graph's order, and those among them that have no frame.

    `live`: the values whose positions lead to every output. `every` False: maps that any target depends on, as in
    detectors, whose levels have outputs of their own.
    """
    sets = [set(upstream(target)) for target in targets]
    needed = set.intersection(*sets) if every else set.union(*sets)
    layers: list[Layer] = []
    unplaced: list[Unplaced] = []
    tapped: set[ir.Value] = set()
    macs = 0
    computed = computed_values(graph)
    for node in graph:
        macs += multiply_adds(node) if node.outputs[0] in computed else 0
        # Values before the first product with weights are still the image, possibly in another layout.
        if not macs or (hands_on(node, Hands.WHOLE) and node.inputs[0] in arrangements):
            continue
        for value in node.outputs:
            arrangement, tap = arrangements.get(value), tap_point(value)
            if producer_of(tap) not in needed:
                continue
            if arrangement is None or arrangement.positions < 2 or value.dtype not in FLOATS:
                continue
            channels = channels_of(value, arrangement)
            if channels is None or tap in tapped or value not in computed or _is_quantized_later(value):
                continue
            tapped.add(tap)
            frame, name = frames.get(value), name_of(value)
            if not isinstance(frame, MapFrame):
                unplaced += [Unplaced(name, tap, frame)] if frame is not None else []
                continue
            features = channels not in PICTURE_CHANNELS and not _is_crop(node, frame, frames)
            automatic = features and (arrangement.form == "nchw" or _ends_a_block(node, computed))
            is_live = tap in live or value in live
            layers.append(Layer(name, tap, arrangement, channels, macs, frame, is_live and automatic, is_live))
    return layers, unplaced


def _is_crop(node: ir.Node, frame: MapFrame, frames: Mapping[ir.Value, MapFrame | FrameEnd]) -> bool:
    """Whether the node cuts a part out of a map: another part may be used elsewhere."""
    source = frames.get(node.inputs[0]) if node.inputs and node.inputs[0] is not None else None
    is_move = operator_of(node).places is Places.MOVED
    return is_move and isinstance(source, MapFrame) and source.seen_hw != frame.seen_hw


def _ends_a_block(node: ir.Node, computed: Collection[ir.Value]) -> bool:
    """Whether the node is a normalization or a sum of two activations: these separate transformer blocks."""
    if node.op_type == "Add":
        return all(source in computed for source in node.inputs)
    return operator_of(node).ends_block


def choose_layers(
    layers: Sequence[Layer],
    wanted: Sequence[str],
    preferred: Layer | None = None,
    unplaced: Sequence[Unplaced] = (),
) -> list[Layer]:
    """The layers that the user asked for, in the graph's order, each once.

    Each entry is ``auto``, a share of the multiply-adds such as ``50%``, a name, or a part of exactly one name.
    `preferred`: what ``auto`` means, if it is not the last layer.
    """
    if not layers:
        why = f": {unplaced[0].end}" if unplaced else ""
        raise ModelError(f"no feature map leads to the outputs{why}; rise works on this file, gradients do not apply")
    chosen = {_choose(layers, name, preferred, unplaced).name for name in wanted}
    if not chosen:
        raise ModelError("layers: found none, expected at least one: give a layer, or auto")
    return [layer for layer in layers if layer.name in chosen]


def _choose(layers: Sequence[Layer], wanted: str, preferred: Layer | None, unplaced: Sequence[Unplaced]) -> Layer:
    if wanted == AUTO:
        return preferred or _automatic(layers)[-1]
    if wanted.endswith("%"):
        return _at_share(_automatic(layers), wanted)
    exact = [layer for layer in layers if layer.name == wanted]
    found = exact or [layer for layer in layers if wanted.lower() in layer.name.lower()]
    if len(found) == 1:
        return found[0]
    if found:
        raise ModelError(f"layer {wanted!r} is ambiguous, it matches {_listed(found)}: give a whole name")
    for entry in unplaced:
        if entry.name == wanted or wanted.lower() in entry.name.lower():
            raise ModelError(
                f"layer {entry.name!r}: where its map lies in the image is not known, because {entry.end}: choose an "
                f"earlier one: {_listed(layers)}"
            )
    raise ModelError(f"layer {wanted!r} not found; maps that lead to the outputs: {_listed(layers)}")


def automatic_layer(layers: Sequence[Layer], preferred: Layer | None) -> Layer | None:
    """The layer that ``auto`` means; None where no layer has a gradient."""
    return _choose(layers, AUTO, preferred, ()) if any(layer.live for layer in layers) else None


def _automatic(layers: Sequence[Layer]) -> Sequence[Layer]:
    """What may be chosen without a name: of a model that has no better ones, any live layer."""
    live = [layer for layer in layers if layer.live]
    if not live:
        raise ModelError(
            f"no feature map has a gradient for every output: name a layer, of {_listed(layers)}, or use rise"
        )
    return [layer for layer in live if layer.automatic] or live


def _at_share(layers: Sequence[Layer], wanted: str) -> Layer:
    try:
        share = float(wanted[:-1]) / 100
    except ValueError:
        share = math.nan
    if not 0 <= share <= 1:
        raise ModelError(f"layer {wanted!r}: expected a share from 0% to 100%, a name, or auto")
    total = max(layer.macs_before for layer in layers)
    return min(layers, key=lambda layer: abs(layer.macs_before - share * total))


def _listed(layers: Sequence[Layer]) -> str:
    names = [layer.name for layer in layers]
    if len(names) > MAX_LISTED:
        names = [*names[: MAX_LISTED // 2], f"… {len(names) - MAX_LISTED} more …", *names[-MAX_LISTED // 2 :]]
    return ", ".join(names)


def _is_quantized_later(value: ir.Value) -> bool:
    """Whether the value lies inside a quantized operator: only its QuantizeLinear reads it."""
    consumers = list(value.consumers())
    return bool(consumers) and all(node.op_type == "QuantizeLinear" for node in consumers)


def multiply_adds(node: ir.Node) -> int:
    """The number of multiply-adds for one image if the node is a product with weights, else 0."""
    operator = operator_of(node)
    if operator.weight is None:
        return 0
    out, factor = maybe_dims(node.outputs[0]), node.inputs[operator.weight]
    weight = None if factor is None else maybe_dims(factor)
    if out is None or weight is None or not all(isinstance(size, int) for size in (*out[1:], *weight)):
        return 0
    out_sizes = [size for size in out[1:] if isinstance(size, int)]
    weight_sizes = [size for size in weight if isinstance(size, int)]
    if operator.computes == "Conv":
        return math.prod(out_sizes) * math.prod(weight_sizes[1:])
    if operator.computes == "ConvTranspose":
        source = None if node.inputs[0] is None else maybe_dims(node.inputs[0])
        sizes = [size for size in (source or ())[1:] if isinstance(size, int)]
        return math.prod(sizes) * math.prod(weight_sizes[1:])
    # MatMulNBits packs its weights and states how many rows they have.
    inner = int_attribute(node, "K", weight_sizes[-1 if int_attribute(node, "transB", 0) else -2])
    return math.prod(out_sizes) * inner
