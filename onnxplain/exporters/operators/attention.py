"""ONNX Runtime's attention operators, which its transformer optimiser writes, in standard operators.

Definitions: docs/ContribOperators.md of ONNX Runtime. Masks by length, caches and causal attention, which vision models
do not have, are refused by name.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Sequence

import onnx_ir as ir

from onnxplain.errors import UnsupportedError
from onnxplain.exporters.graph.branch import Branch
from onnxplain.exporters.graph.values import describe, dims, int_attribute, static_dims
from onnxplain.exporters.operators.fused import scaled_product


def attention(op: Branch, node: ir.Node) -> Sequence[ir.Value | None]:
    """Query, key and value are one product of the input; inputs: x, weights, bias, mask, past, attention_bias."""
    _refuse_forms(node, {3: "mask_index", 4: "past", 6: "past_sequence_length"}, {"unidirectional", "do_rotary"})
    x, weights, bias, *_ = node.inputs
    projected = op.MatMul(x, weights)
    if bias is not None:
        projected = op.Add(projected, bias)
    assert weights is not None
    (width,) = static_dims(weights, (1,))
    sizes = list(node.attributes.get_ints("qkv_hidden_sizes", ())) or [width // 3] * 3
    return _attended_parts(op, node, projected, sizes, _given(node, 5))


def quantized_attention(op: Branch, node: ir.Node) -> Sequence[ir.Value | None]:
    """Attention of dequantized input and weights, in floats.

    Inputs: q, weights, bias, s_q, s_w, mask, q₀, w₀, past.
    """
    _refuse_forms(node, {5: "mask_index", 8: "past"}, {"unidirectional", "do_rotary", "past_present_share_buffer"})
    x, weights, bias, x_scale, weight_scale, _, x_zero, weight_zero, _ = (*node.inputs, *[None] * 4)[:9]
    projected = scaled_product(op, (x, weights, x_zero, weight_zero), op.Mul(x_scale, weight_scale), bias)
    assert weights is not None
    (width,) = static_dims(weights, (1,))
    return _attended_parts(op, node, projected, [width // 3] * 3, None)


def multi_head_attention(op: Branch, node: ir.Node) -> Sequence[ir.Value | None]:
    """Query, key, value are given: [N, tokens, heads · size]; key and value also heads first; or packed."""
    _refuse_forms(
        node,
        {4: "key_padding_mask", 6: "past_key", 7: "past_value", 8: "past_sequence_length", 9: "cache_indirection"},
        {"unidirectional"},
    )
    query, key, value = (_given(node, index) for index in range(3))
    bias, heads = _given(node, 3), int_attribute(node, "num_heads", 1)
    assert query is not None
    if len(dims(query)) == 5:
        # [N, tokens, heads, 3, size]
        parts = [op.Gather(query, index, axis=3) for index in range(3)]
        return _attended(op, node, [_heads_first(op, part) for part in parts], _given(node, 5))
    assert key is not None
    if len(dims(key)) == 5:
        # [N, tokens, heads, 2, size]
        pair = [_heads_first(op, op.Gather(key, index, axis=3)) for index in range(2)]
        return _attended(op, node, [_split_heads(op, query, heads), *pair], _given(node, 5))
    assert value is not None
    operands, start = [], 0
    for source in (query, key, value):
        if len(dims(source)) == 4:
            operands.append(source)
            continue
        (width,) = static_dims(source, (2,))
        part = source if bias is None else op.Add(source, op.Slice(bias, [start], [start + width], [0]))
        operands.append(_split_heads(op, part, heads))
        start += width
    return _attended(op, node, operands, _given(node, 5))


def _attended_parts(
    op: Branch, node: ir.Node, projected: ir.Value, sizes: Sequence[int], scores_bias: ir.Value | None
) -> Sequence[ir.Value | None]:
    heads, operands, start = int_attribute(node, "num_heads", 1), [], 0
    for size in sizes:
        operands.append(_split_heads(op, op.Slice(projected, [start], [start + size], [2]), heads, size))
        start += size
    return _attended(op, node, operands, scores_bias, sizes[0] // heads)


def _attended(
    op: Branch,
    node: ir.Node,
    operands: Sequence[ir.Value],
    scores_bias: ir.Value | None,
    head_size: int | None = None,
) -> Sequence[ir.Value | None]:
    """softmax(scale · Q Kᵀ + bias) V of [N, heads, tokens, size], heads side by side again."""
    query, key, value = operands
    if head_size is None:
        head_size = _head_size(node)
    scale = node.attributes.get_float("scale", 0.0) or 1.0 / math.sqrt(head_size)
    scores = op.Mul(op.MatMul(query, op.Transpose(key, perm=[0, 1, 3, 2])), scale)
    if scores_bias is not None:
        scores = op.Add(scores, scores_bias)
    mixed = op.MatMul(op.Softmax(scores, axis=-1), value)
    output = op.Reshape(op.Transpose(mixed, perm=[0, 2, 1, 3]), [0, 0, -1])
    return [output, *[None] * (len(node.outputs) - 1)]


def _head_size(node: ir.Node) -> int:
    query = _given(node, 0)
    assert query is not None
    rank = len(dims(query))
    (size,) = static_dims(query, (rank - 1,))
    return size if rank == 5 else size // int_attribute(node, "num_heads", 1)


def _split_heads(op: Branch, value: ir.Value, heads: int, width: int | None = None) -> ir.Value:
    """[N, tokens, heads · size] → [N, heads, tokens, size]."""
    size = -1 if width is None else width // heads
    return _heads_first(op, op.Reshape(value, [0, 0, heads, size]))


def _heads_first(op: Branch, value: ir.Value) -> ir.Value:
    return op.Transpose(value, perm=[0, 2, 1, 3])


def _given(node: ir.Node, index: int) -> ir.Value | None:
    return node.inputs[index] if index < len(node.inputs) else None


def _refuse_forms(node: ir.Node, inputs: dict[int, str], flags: Collection[str]) -> None:
    found = [name for index, name in inputs.items() if _given(node, index) is not None]
    found += [name for name in sorted(flags) if int_attribute(node, name, 0)]
    if found:
        raise UnsupportedError(f"no gradient for {describe(node)}: its {found[0]}")
