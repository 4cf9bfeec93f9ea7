"""The outputs of the attention: its matrices and their gradients, each kind behind a gate of its own.

The gradients of all layers come from one walk back through the graph, so they share one `If`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

import onnx_ir as ir

from onnxplain.contract import (
    ATTENTION_INPUT,
    ATTENTION_LAYER,
    EXPLAINED_DIMENSION,
    AttentionSpec,
    LayerSpec,
    MapFrame,
    attention_gradients_output,
    attention_layerwise_output,
    attention_output,
)
from onnxplain.errors import ModelError
from onnxplain.exporters.anatomy.anatomy import Anatomy
from onnxplain.exporters.anatomy.arrangement import MAP_RANK, Arrangement
from onnxplain.exporters.anatomy.attention import FoundAttention
from onnxplain.exporters.anatomy.blocks import Blocks, find_blocks
from onnxplain.exporters.anatomy.heads import Head
from onnxplain.exporters.anatomy.layers import Layer
from onnxplain.exporters.checks.witness import Witness, WitnessHead, cut_witness
from onnxplain.exporters.gradient.differentiate import differentiate, differentiate_at
from onnxplain.exporters.gradient.many_targets import RepeatedParts, images_come_first
from onnxplain.exporters.graph.branch import Branch
from onnxplain.exporters.graph.names import PREFIX, free_name
from onnxplain.exporters.graph.values import dims, name_of
from onnxplain.exporters.writing.gate import several_behind_gate, split_gates
from onnxplain.exporters.writing.seeds import AskedInputs, seed_cotangents, settle_target

ATTENTION_ROWS = "attention_rows"


@dataclass(frozen=True)
class PlannedAttention:
    """What is written: the `layers` with their matrices, as layers whose maps are [N, heads, T, T].

    `reads`: the tokens that each head of the model reads. `blocks`: None where the head cannot read those of other
    layers than the last.
    """

    found: FoundAttention
    layers: tuple[Layer, ...]
    reads: tuple[tuple[int, int] | None, ...]
    blocks: Blocks | None

    @property
    def names(self) -> tuple[str, ...]:
        """The names of all layers that are checked, as in the metadata."""
        return tuple(layer.name for layer in self.spec(many_targets=False).gradient_layers)

    def spec(self, *, many_targets: bool) -> AttentionSpec:
        """The metadata entry."""
        layers = [
            LayerSpec(
                layer.name,
                attention_output(layer.name),
                attention_gradients_output(layer.name),
                layer.channels,
                layer.size_hw,
                many_targets=many_targets,
            )
            for layer in self.layers
        ]
        tokens, frame, has_blocks = self.found.tokens, self.found.frame, self.blocks is not None
        around = tokens.tokens_before, tokens.tokens_after
        return AttentionSpec(tuple(layers), tokens.size_hw, *around, frame, self.reads, has_blocks)


def plan_attention(graph: ir.Graph, anatomy: Anatomy) -> PlannedAttention:
    """The attention of the graph. Raises ModelError where it cannot be explained."""
    found = anatomy.attention
    blocks = find_blocks(found, anatomy.arrangements, anatomy.targets)
    return PlannedAttention(found, _as_layers(graph, found), anatomy.reads(found), blocks)


def cut_witnesses(planned: PlannedAttention, heads: Sequence[WitnessHead], opset: int) -> Iterator[Witness]:
    """The witnesses of all gradients, in the order of the metadata."""
    for layer in planned.layers:
        yield cut_witness(layer, heads, opset)
    if planned.blocks is not None:
        for layer, end in zip(planned.layers, planned.blocks.ends, strict=True):
            with planned.blocks.head_at(end):
                yield cut_witness(layer, heads, opset)


def _as_layers(graph: ir.Graph, attention: FoundAttention) -> tuple[Layer, ...]:
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


@dataclass(frozen=True)
class Controls:
    """What the attention's outputs depend on: the contract's inputs, the heads, the model's nodes behind the image.

    `asked`: the input that opens the gates; None without gates. `forward`: the nodes that the branch of a gate computes
    again, so that nothing of the model is kept for it, nor kept from being fused. `many`: see `add_gradient`.
    """

    inputs: AskedInputs
    asked: ir.Value | None
    heads: Sequence[Head]
    forward: Sequence[ir.Node]
    many: RepeatedParts | None


def add_attention(graph: ir.Graph, planned: PlannedAttention, controls: Controls) -> None:
    """Append the matrices of all layers, float32 [N, heads, T, T], and the gradients, [explained, heads, T, T].

    Behind a closed gate they have no rows.
    """
    layers = planned.layers
    kinds: list[tuple[str, Callable[[str], str], str, Callable[[Branch], Sequence[ir.Value]]]] = [
        ("attention", attention_output, ATTENTION_ROWS, lambda branch: _matrices(branch, layers)),
        (
            "attention_gradients",
            attention_gradients_output,
            EXPLAINED_DIMENSION,
            lambda branch: _gradients(branch, layers, controls),
        ),
    ]
    if (blocks := planned.blocks) is not None:
        kinds.append(
            (
                "attention_layerwise",
                attention_layerwise_output,
                EXPLAINED_DIMENSION,
                lambda branch: _layerwise_gradients(branch, layers, blocks, controls),
            )
        )
    count = len(kinds)
    gates = [None] * count if controls.asked is None else split_gates(graph, controls.asked, count, ATTENTION_INPUT)
    written = []
    for gate, (kind, named, rows, values_of) in zip(gates, kinds, strict=True):
        then_branch, else_branch = Branch(f"{PREFIX}/{kind}/then"), Branch(f"{PREFIX}/{kind}/else")
        if gate is not None:
            then_branch.compute_again(controls.forward)
        # An output of a subgraph must be computed inside it.
        opened = [then_branch.Identity(value) for value in values_of(then_branch)]
        then_branch.keep_needed(opened)
        closed = [_nothing(else_branch, layer, controls.inputs.target) for layer in layers]
        shapes = [ir.Shape([rows, layer.channels, *layer.size_hw]) for layer in layers]
        outputs = several_behind_gate(
            graph, gate, (then_branch, opened), (else_branch, closed), shapes, f"{PREFIX}/{kind}"
        )
        for layer, output in zip(layers, outputs, strict=True):
            free_name(graph, named(layer.name))
            output.name = named(layer.name)
        written.append(outputs)
    for of_layer in zip(*written, strict=True):
        graph.outputs.extend(of_layer)


def _matrices(branch: Branch, layers: Sequence[Layer]) -> list[ir.Value]:
    return [layer.arrangement.to_map(branch, branch.forward(layer.tap), layer.channels) for layer in layers]


def _gradients(branch: Branch, layers: Sequence[Layer], controls: Controls) -> list[ir.Value]:
    """∂y/∂A of all layers, from one walk."""
    seeds = _seeds(branch, controls, controls.inputs, layers[0].tap)
    found = differentiate_at(branch, seeds, {layer.name: layer.tap for layer in layers})
    return [layer.arrangement.to_map(branch, each, layer.channels) for layer, each in zip(layers, found, strict=True)]


def _layerwise_gradients(branch: Branch, layers: Sequence[Layer], blocks: Blocks, controls: Controls) -> list[ir.Value]:
    """∂s_l/∂A_l with s_l = y as the model's head computes it from the tokens at the end of block l.

    A negative target is the best entry of the model's own answer, not of what the head says of a block.
    """
    inputs = controls.inputs
    chosen = settle_target(branch, controls.heads, inputs.target, controls.many is not None)
    last, found = blocks.ends[-1], []
    for number, (layer, end) in enumerate(zip(layers, blocks.ends, strict=True)):
        part = branch.part(f"layer_{number}")
        part.compute_again(blocks.head, {last: end})
        at_end = differentiate(part, _seeds(part, controls, replace(inputs, target=chosen), last), last, layer.name)
        gradient = differentiate(part, {end: at_end}, layer.tap, layer.name)
        found.append(layer.arrangement.to_map(part, gradient, layer.channels))
        branch.take(part)
    return found


def _seeds(branch: Branch, controls: Controls, inputs: AskedInputs, tap: ir.Value) -> Mapping[ir.Value, ir.Value]:
    seeds = seed_cotangents(branch, controls.heads, inputs, tap, controls.many is not None)
    if controls.many is not None:
        controls.many.read_in(branch, next(iter(seeds.values())))
    return seeds


def _nothing(branch: Branch, layer: Layer, target: ir.Value) -> ir.Value:
    """No rows: zero as only a run knows it, since a constant cannot be an output of OpenVINO."""
    count = branch.Shape(target)
    shape = branch.Concat(branch.Sub(count, count), [layer.channels, *layer.size_hw], axis=0)
    return branch.ConstantOfShape(shape)
