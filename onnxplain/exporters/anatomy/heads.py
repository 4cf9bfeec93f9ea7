"""The heads of a graph: the values that are differentiated, and the model's own outputs that hold the answers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import onnx_ir as ir

from onnxplain.contract import (
    EndValue,
    Evidence,
    FoundHead,
    FoundHeads,
    HeadKind,
    ImageInput,
    OutputFault,
    ReadKind,
    ScoreForm,
    StatedHead,
    UnusedOutput,
    order_heads,
    tell_heads,
)
from onnxplain.errors import ModelError
from onnxplain.exporters.anatomy.graph_end import read_graph_end
from onnxplain.exporters.graph.values import FLOATS, describe, maybe_dims, name_of, producer_of
from onnxplain.exporters.operators.operator import Hands
from onnxplain.exporters.operators.table import hands_on

SHAPES: Mapping[HeadKind, str] = {
    "classes": "[N, C] (or [N, C, 1, 1]) with C of 2 or more",
    "labels": "[N, L]",
    "values": "[N, K]",
    "box": "[N, 4]",
    "embedding": "[N, D] with D of 2 or more",
    "mask": "[N, C, h, w]",
}


@dataclass(frozen=True)
class Head:
    """A head in the graph.

    `value` is the float tensor that is differentiated: its entries, flattened, are the `size` logits, values or
    coordinates; of an embedding it is the vector; of a mask the map, whose classes stand at `channel_axis`. `answer`
    holds what the head answers with: the same value, or the embedding as the model returns it. `output` is the model's
    own output that holds the answer as float32 [N, size] or [N, C, h, w]; None if it has to be added. `scores` is the
    own output that holds probabilities.
    """

    name: str
    kind: HeadKind
    size: int
    value: ir.Value
    answer: ir.Value
    evidence: Evidence
    output: ir.Value | None = None
    scores: ir.Value | None = None
    score_form: ScoreForm = field(default_factory=ScoreForm)
    map_size_hw: tuple[int, int] | None = None
    channel_axis: int = 1
    sigmoid: bool = False

    @property
    def entries(self) -> int:
        """Number of scalars that can be explained."""
        return 1 if self.kind == "embedding" else self.size


@dataclass(frozen=True)
class AskedHeads:
    """What is said of the heads. `stated` by the user; `default`: the head that targets count first.

    `read`: the kind that another tool says. `options`: the option that stated a head, by its name, for messages.
    """

    stated: tuple[StatedHead, ...] = ()
    default: str | None = None
    read: ReadKind | None = None
    options: Mapping[str, str] = field(default_factory=dict)

    def named(self, name: str) -> str:
        """How the user named a head: ``--box NAME``."""
        return f"{self.options.get(name, '--head')} {name}"


NOTHING_ASKED = AskedHeads()


@dataclass(frozen=True)
class ModelHeads:
    """The heads in the order in which targets count them, and the outputs that are none."""

    heads: tuple[Head, ...]
    unused: tuple[UnusedOutput, ...] = ()


def find_heads(graph: ir.Graph, image: ImageInput, asked: AskedHeads = NOTHING_ASKED) -> ModelHeads:
    """The heads at the end of the graph. Raises ModelError if none is found, or if one is told in two ways."""
    end = read_graph_end(graph, image)
    found = tell_heads(end, asked.stated, asked.read)
    _check(graph, found, asked)
    values = {name_of(value): value for node in graph for value in node.outputs if value.name}
    values |= {name_of(value): value for value in (*graph.inputs, *graph.initializers.values())}
    default = None if asked.default is None else _owner(found, asked)
    heads = order_heads([_head(head, values) for head in found.heads], default)
    one_size, others = _of_one_size(heads)
    stated = {head.name for head in asked.stated if head.kind is not None}
    for entry in others:
        if entry.value.name in stated:
            raise ModelError(str(entry))
    return ModelHeads(one_size, (*found.unused, *others))


def _owner(found: FoundHeads, asked: AskedHeads) -> str:
    """The name of the head that the user's default names: the head itself, or one of its outputs."""
    name = str(asked.default)
    for head in found.heads:
        if name == head.name or name in [output.name for output in head.outputs]:
            return head.name
    raise ModelError(
        f"{asked.named(name)}: found no head of this name, expected one of "
        f"{', '.join(head.name for head in found.heads)}: state its kind, --head {name}:KIND"
    )


def _head(found: FoundHead, values: Mapping[str, ir.Value]) -> Head:
    if found.size is None:
        raise ModelError(
            f"output {found.name!r}: found no number of classes behind it, expected one: export the model with fixed "
            "sizes"
        )
    tip, source = values[found.name], values[found.source]
    picked = bool(found.outputs) and all(output.holds == "picked" for output in found.outputs)
    seen_through = found.activation is not None or picked or found.kind == "mask"
    own = found.first("source")
    if not seen_through and own is not None:
        tip = values[own.name]
    value = float_source(source if seen_through else tip)
    if found.kind == "embedding":
        # Of features and their normalised form the model answers with the second.
        tip = next((values[output.name] for output in found.outputs if output.name != found.source), tip)
    answer = float_source(tip) if found.kind == "embedding" else value
    scores = found.first("scores")
    return Head(
        name=found.name,
        kind=found.kind,
        size=found.size,
        value=value,
        answer=answer,
        evidence=found.evidence,
        output=answer if _has_contract_form(answer, found) else None,
        scores=None if scores is None else values[scores.name],
        score_form=ScoreForm() if scores is None else scores.form,
        map_size_hw=found.map_size_hw,
        channel_axis=found.channel_axis,
        sigmoid=found.sigmoid,
    )


def _has_contract_form(value: ir.Value, found: FoundHead) -> bool:
    """Whether an output is float32 [N, size], or [N, C, h, w] for a mask."""
    shape = maybe_dims(value) or ()
    if not value.is_graph_output() or value.dtype != ir.DataType.FLOAT:
        return False
    if found.map_size_hw is not None:
        return shape[1:] == (found.size, *found.map_size_hw)
    return len(shape) == 2 and shape[1] == found.size


def _of_one_size(heads: Sequence[Head]) -> tuple[tuple[Head, ...], list[UnusedOutput]]:
    """Of several embeddings or masks those with the size of the first: they share one `reference` or `region`."""
    kept: list[Head] = []
    others: list[UnusedOutput] = []
    for head in heads:
        first = next((other for other in kept if other.kind == head.kind), head)
        sizes = {each.size if each.kind == "embedding" else each.map_size_hw for each in (first, head)}
        if head.kind in ("embedding", "mask") and len(sizes) > 1:
            value = EndValue(head.name, dims=maybe_dims(head.answer))
            others.append(UnusedOutput(value, OutputFault.OTHER_SIZE, first.name))
        else:
            kept.append(head)
    return tuple(kept), others


def _check(graph: ir.Graph, found: FoundHeads, asked: AskedHeads) -> None:
    """Raise ModelError for outputs for which the file is refused."""
    if not found.refused:
        return
    listed = ", ".join(f"{output.name} {_shape_text(output)}" for output in graph.outputs)
    kinds = {head.name: head.kind for head in asked.stated}
    for entry in found.refused:
        name, kind = entry.value.name, kinds.get(entry.value.name)
        if entry.fault is OutputFault.UNKNOWN:
            raise ModelError(
                f"{asked.named(name)}: not found, expected one of the outputs "
                f"{', '.join(map(name_of, graph.outputs))}, or a value of the graph"
            )
        if entry.fault is OutputFault.STATED and kind is not None and kind != "none":
            raise ModelError(
                f"{asked.named(name)}: found shape {entry.value.shape_text}, expected {SHAPES[kind]}: state another "
                f"kind, --head {name}:KIND"
            )
    if not found.heads:
        _check_shapes_known(graph)
    refused = "; ".join(map(str, found.refused))
    raise ModelError(f"found outputs {listed}, expected class logits or another answer that can be told: {refused}")


def _check_shapes_known(graph: ir.Graph) -> None:
    """Raise ModelError with the first operator whose output shape is unknown, if an output shape depends on it."""
    if all(output.shape is not None for output in graph.outputs):
        return
    for node in graph:
        if any(output.shape is None and (output.consumers() or output.is_graph_output()) for output in node.outputs):
            domain = f"{node.domain}." if node.domain else ""
            raise ModelError(
                f"operator {domain}{node.op_type} at node {describe(node)}: the shapes of its output and of all values "
                "after it are unknown: save the file with fewer optimisations, or quantize it in the QDQ form"
            )


def float_source(value: ir.Value) -> ir.Value:
    """The value itself if it is float; if it is quantized, the float value that it was quantized from."""
    while value.dtype not in FLOATS:
        node = producer_of(value)
        if node is None or node.inputs[0] is None or not hands_on(node, *Hands):
            dequantized = [reader.outputs[0] for reader in value.consumers() if reader.op_type == "DequantizeLinear"]
            if dequantized:
                return dequantized[0]
            raise ModelError(
                f"value {value.name!r}: found no floating point value that it is computed from, expected logits: "
                "name the value to explain with --head NAME:KIND"
            )
        value = node.inputs[0]
    return value


def _shape_text(value: ir.Value) -> str:
    shape = maybe_dims(value)
    return "of unknown shape" if shape is None else "[" + ", ".join(map(str, shape)) + "]"
