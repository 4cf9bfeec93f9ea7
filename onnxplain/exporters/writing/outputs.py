"""The outputs that are added to an explainable graph: feature maps, logits, weights of the class activation map."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import onnx_ir as ir

from onnxplain.contract import CAM_WEIGHTS_OUTPUT, LOGITS_OUTPUT, features_output, logits_output
from onnxplain.exporters.anatomy.heads import Head
from onnxplain.exporters.anatomy.inputs import UNBATCHED_RANK
from onnxplain.exporters.anatomy.layers import Layer
from onnxplain.exporters.anatomy.pooled_head import NoPooledHead, PooledHead
from onnxplain.exporters.graph.branch import Branch
from onnxplain.exporters.graph.names import PREFIX, free_name
from onnxplain.exporters.graph.values import FLOATS, dequantizer_of, maybe_dims
from onnxplain.exporters.writing.gate import behind_gate
from onnxplain.exporters.writing.seeds import map_of, rows_of


def add_features(graph: ir.Graph, layer: Layer, batch: ir.SymbolicDim | int | None, index: int) -> ir.Value:
    """The value that becomes the output ``features/<layer>``, float32 [N, K, h, w]."""
    tap = layer.tap
    tail = Branch(f"{PREFIX}/features_{index}")
    is_free = not (tap.is_graph_output() or tap.is_graph_input())
    if tap.dtype == ir.DataType.FLOAT and layer.arrangement.form == "nchw" and is_free:
        value = tap
    else:
        if tap.dtype not in FLOATS:
            value = _dequantized_map(tail, layer)
        else:
            value = tail.Cast(tap, to=ir.DataType.FLOAT) if tap.dtype != ir.DataType.FLOAT else tap
            value = layer.arrangement.to_map(tail, value, layer.channels)
            value = tail.Identity(tap) if value is tap else value
        graph.extend(tail.nodes)
    free_name(graph, features_output(layer.name))
    value.name = features_output(layer.name)
    value.shape = ir.Shape([batch, layer.channels, *layer.size_hw])
    value.type = ir.TensorType(ir.DataType.FLOAT)
    return value


def _dequantized_map(tail: Branch, layer: Layer) -> ir.Value:
    """The integers of a quantized layer as a float map.

    By a DequantizeLinear of its own, so that ONNX Runtime still fuses the others into integer kernels. Behind the
    Transpose of another layout: ONNX Runtime 1.31 aborts while it optimises a Transpose that reads a DequantizeLinear
    and is read by a subgraph.
    """
    node = dequantizer_of(layer.tap)
    integers, scale, *zero = node.inputs
    assert integers is not None and scale is not None
    moves = layer.arrangement.to_map
    if maybe_dims(scale) in ((), (1,)):
        return tail.repeat(node, [moves(tail, integers, layer.channels), scale, *zero])[0]
    # A scale per slice belongs to an axis of the layout that it came in.
    return moves(tail, tail.repeat(node, [integers, scale, *zero])[0], layer.channels)


def add_answers(graph: ir.Graph, heads: Sequence[Head]) -> list[ir.Value]:
    """What each head answers with, as float32 [N, size], or [N, C, h, w] for a mask.

    The model's own output if it has this form, else ``logits`` for the default head and ``logits/<head>`` for others.
    """
    names = [logits_output(head.name) if position else LOGITS_OUTPUT for position, head in enumerate(heads)]
    return [_answer(graph, head, name) for head, name in zip(heads, names, strict=True)]


def _answer(graph: ir.Graph, head: Head, wanted: str) -> ir.Value:
    if head.output is not None:
        return head.output
    tail = Branch(f"{PREFIX}/{wanted}")
    is_mask = head.kind == "mask"
    value = map_of(tail, head) if is_mask else rows_of(tail, head, head.answer)
    if value is head.answer:
        value = tail.Identity(value)
    graph.extend(tail.nodes)
    batch = head.answer.shape[0] if head.answer.shape is not None and len(head.answer.shape) > 1 else 1
    if is_mask and len(head.answer.shape or ()) == UNBATCHED_RANK:
        batch = 1
    value.shape = ir.Shape([batch, head.size, *(head.map_size_hw or ())])
    value.type = ir.TensorType(ir.DataType.FLOAT)
    taken = {output.name for output in graph.outputs}
    value.name = wanted if wanted not in taken else f"{PREFIX}/{wanted}"
    free_name(graph, value.name, keep=value)
    graph.outputs.append(value)
    return value


def add_cam_weights(
    graph: ir.Graph,
    layers: Sequence[Layer],
    head: PooledHead | NoPooledHead,
    target: ir.Value,
    gates: Sequence[ir.Value | None],
) -> str | None:
    """Make the head's weights an output inside the gate of their layer; returns the layer's name, or None.

    The initializer itself cannot be the output: OpenVINO refuses outputs that are constants. A copy in every run would
    cost up to 5 % of a small network's time, so a closed gate gives no weights.
    """
    if isinstance(head, NoPooledHead):
        return None
    names = [layer.name for layer in layers if layer.tap is head.layer]
    if not names:
        return None
    free_name(graph, CAM_WEIGHTS_OUTPUT)
    weights = _stored_weights(graph, head.weights)
    if weights is None:
        name, narrow = f"{PREFIX}/weights", head.weights.astype(np.float16)
        # Those of a float16 file, in another order.
        tensor = ir.tensor(narrow if np.array_equal(narrow, head.weights) else head.weights, name=name)
        weights = ir.Value(
            name=name,
            shape=ir.Shape(head.weights.shape),
            type=ir.TensorType(tensor.dtype),
            const_value=tensor,
        )
        graph.register_initializer(weights)
    classes, channels = head.weights.shape
    then_branch, else_branch = Branch(f"{PREFIX}/weights/then"), Branch(f"{PREFIX}/weights/else")
    # A zero that only a run knows: ONNX Runtime and OpenVINO would fold a copy and keep the weights twice.
    size = then_branch.Shape(target)
    copied = then_branch.Slice(weights, then_branch.Sub(size, size), [classes], [0])
    nothing = else_branch.Slice(weights, [0], [0], [0])
    if weights.dtype != ir.DataType.FLOAT:
        copied = then_branch.Cast(copied, to=ir.DataType.FLOAT)
        nothing = else_branch.Cast(nothing, to=ir.DataType.FLOAT)
    shape = ir.Shape([f"{CAM_WEIGHTS_OUTPUT}_rows", channels])
    gate = gates[[layer.name for layer in layers].index(names[0])]
    output = behind_gate(graph, gate, (then_branch, copied), (else_branch, nothing), shape, f"{PREFIX}/weights/gate")
    output.name = CAM_WEIGHTS_OUTPUT
    graph.outputs.append(output)
    return names[0]


def _stored_weights(graph: ir.Graph, weights: np.ndarray) -> ir.Value | None:
    """The initializer that holds exactly these weights, so that they are not stored twice; None if there is none."""
    for value in graph.initializers.values():
        tensor = value.const_value
        if (
            tensor is not None
            and tensor.dtype in (ir.DataType.FLOAT, ir.DataType.FLOAT16)
            and tuple(tensor.shape) == weights.shape
            and not value.is_graph_input()
            and np.array_equal(tensor.numpy(), weights)
        ):
            return value
    return None
