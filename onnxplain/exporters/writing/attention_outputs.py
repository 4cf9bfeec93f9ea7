"""The outputs of the attention: its matrices and their gradients, each kind behind a gate of its own.

The gradients of all layers come from one walk back through the graph, so they share one `If`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import onnx_ir as ir

from onnxplain.contract import (
    ATTENTION_INPUT,
    ATTENTION_LAYER,
    EXPLAINED_DIMENSION,
    AttentionSpec,
    LayerSpec,
    MapFrame,
    attention_gradients_output,
    attention_output,
)
from onnxplain.errors import ModelError
from onnxplain.exporters.anatomy.arrangement import MAP_RANK, Arrangement
from onnxplain.exporters.anatomy.attention import FoundAttention
from onnxplain.exporters.anatomy.layers import Layer
from onnxplain.exporters.gradient.differentiate import differentiate_at
from onnxplain.exporters.gradient.many_targets import RepeatedParts, images_come_first
from onnxplain.exporters.graph.branch import Branch
from onnxplain.exporters.graph.names import PREFIX, free_name
from onnxplain.exporters.graph.values import dims, name_of
from onnxplain.exporters.writing.gate import SeedMaker, several_behind_gate, split_gates

ATTENTION_ROWS = "attention_rows"


def attention_layers(graph: ir.Graph, attention: FoundAttention) -> tuple[Layer, ...]:
    """The matrices as layers whose maps are [N, heads, T, T], for what all layers have in common.

    Raises ModelError for matrices [N · heads, T, T] whose images may not come first.
    """
    side = attention.count
    frame = MapFrame.over((side, side), (side, side))
    layers = []
    for each in attention.matrices:
        merged = len(dims(each.value)) == MAP_RANK - 1
        if merged and not images_come_first(graph, each.value):
            raise ModelError(
                f"layer {ATTENTION_LAYER}: found {each.value.name!r}, whose images and heads share an axis in an order "
                "that is not known, expected the images outside: leave this layer out"
            )
        arrangement = Arrangement("chw" if merged else "nchw", (side, side))
        layers.append(Layer(name_of(each.value), each.value, arrangement, each.heads, 0, frame, automatic=False))
    return tuple(layers)


def attention_spec(
    attention: FoundAttention, layers: Sequence[Layer], reads: Sequence[tuple[int, int] | None], many_targets: bool
) -> AttentionSpec:
    """The metadata entry."""
    tokens = attention.tokens
    specs = [
        LayerSpec(
            layer.name,
            attention_output(layer.name),
            attention_gradients_output(layer.name),
            layer.channels,
            layer.size_hw,
            many_targets=many_targets,
        )
        for layer in layers
    ]
    return AttentionSpec(
        tuple(specs), tokens.size_hw, tokens.tokens_before, tokens.tokens_after, attention.frame, tuple(reads)
    )


@dataclass(frozen=True)
class Controls:
    """What the attention's outputs depend on: inputs of the contract, and the nodes of the model behind the image.

    `asked`: None without a gate. A gate closes over these nodes too: the branch computes them again, so that nothing
    of the model is kept for it, nor kept from being fused.
    """

    target: ir.Value
    asked: ir.Value | None
    forward: Sequence[ir.Node]


def add_attention(
    graph: ir.Graph, layers: Sequence[Layer], controls: Controls, seeds_of: SeedMaker, many: RepeatedParts | None
) -> None:
    """Append the matrices of all layers, float32 [N, heads, T, T], and the gradients, [explained, heads, T, T].

    Behind a closed gate both have no rows. `many`: see `add_gradient`.
    """
    gates = [None, None] if controls.asked is None else split_gates(graph, controls.asked, 2, ATTENTION_INPUT)
    kinds: Sequence[tuple[str, Callable[[str], str], str, Callable[[Branch], Sequence[ir.Value]]]] = (
        ("attention", attention_output, ATTENTION_ROWS, lambda branch: _matrices(branch, layers)),
        (
            "attention_gradients",
            attention_gradients_output,
            EXPLAINED_DIMENSION,
            lambda branch: _gradients(branch, layers, seeds_of, many),
        ),
    )
    written = []
    for gate, (kind, named, rows, values_of) in zip(gates, kinds, strict=True):
        then_branch, else_branch = Branch(f"{PREFIX}/{kind}/then"), Branch(f"{PREFIX}/{kind}/else")
        if gate is not None:
            then_branch.compute_again(controls.forward)
        # An output of a subgraph must be computed inside it.
        opened = [then_branch.Identity(value) for value in values_of(then_branch)]
        then_branch.keep_needed(opened)
        closed = [_nothing(else_branch, layer, controls.target) for layer in layers]
        shapes = [ir.Shape([rows, layer.channels, *layer.size_hw]) for layer in layers]
        outputs = several_behind_gate(
            graph, gate, (then_branch, opened), (else_branch, closed), shapes, f"{PREFIX}/{kind}"
        )
        for layer, output in zip(layers, outputs, strict=True):
            free_name(graph, named(layer.name))
            output.name = named(layer.name)
        written.append(outputs)
    for pair in zip(*written, strict=True):
        graph.outputs.extend(pair)


def _matrices(branch: Branch, layers: Sequence[Layer]) -> list[ir.Value]:
    return [layer.arrangement.to_map(branch, branch.forward(layer.tap), layer.channels) for layer in layers]


def _gradients(
    branch: Branch, layers: Sequence[Layer], seeds_of: SeedMaker, many: RepeatedParts | None
) -> list[ir.Value]:
    seeds = seeds_of(branch, layers[0].tap, many is not None)
    if many is not None:
        many.read_in(branch, next(iter(seeds.values())))
    found = differentiate_at(branch, seeds, {layer.name: layer.tap for layer in layers})
    return [layer.arrangement.to_map(branch, each, layer.channels) for layer, each in zip(layers, found, strict=True)]


def _nothing(branch: Branch, layer: Layer, target: ir.Value) -> ir.Value:
    """No rows: zero as only a run knows it, since a constant cannot be an output of OpenVINO."""
    count = branch.Shape(target)
    shape = branch.Concat(branch.Sub(count, count), [layer.channels, *layer.size_hw], axis=0)
    return branch.ConstantOfShape(shape)
