"""The seeds of a gradient: the values at which it starts, with their cotangents, for the targets that a run asks for.

Targets count the entries of all heads, one head after the other (contract/heads/numbering.py). The scalar y that is
differentiated is, by the kind of its head:

    classes, labels   the logit, before Softmax or Sigmoid      values, box   the number itself
    embedding         cos(e, r) = e · r / (‖e‖ ‖r‖)             mask          Σ R m_c / Σ R, the mean logit over R

A head that a target does not belong to has cotangents of zero.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate

import numpy as np
import onnx_ir as ir

from onnxplain.exporters.anatomy.heads import Head
from onnxplain.exporters.gradient.last_product import LastProduct, find_last_product, seed_source
from onnxplain.exporters.graph.branch import Branch
from onnxplain.exporters.graph.values import dims
from onnxplain.exporters.operators.unrounded import unrounded

# Heads whose entries are numbers in a row; a product with weights computes them directly.
IN_A_ROW = ("classes", "labels", "values")


@dataclass(frozen=True)
class AskedInputs:
    """The inputs that say what to differentiate: ``target``, and ``reference`` and ``region`` where heads need them."""

    target: ir.Value
    reference: ir.Value | None = None
    region: ir.Value | None = None


def rows_of(branch: Branch, head: Head, value: ir.Value | None = None) -> ir.Value:
    """A head's numbers as float32 [N, size]; those of another value than the one that is differentiated."""
    found = head.value if value is None else value
    numbers = unrounded(branch, found)
    return numbers if len(dims(found)) == 2 else branch.Reshape(numbers, [-1, head.size])


def map_of(branch: Branch, head: Head) -> ir.Value:
    """A mask as float32 [N, C, h, w]."""
    return to_map(branch, head, branch.forward(head.value))


def to_map(branch: Branch, head: Head, value: ir.Value) -> ir.Value:
    """A value in the layout of the head's mask as [N, C, h, w]."""
    if len(dims(head.value)) == 3:
        value = branch.Unsqueeze(value, [0])
    return branch.Transpose(value, perm=[0, 3, 1, 2]) if _is_channels_last(head) else value


def seed_cotangents(
    branch: Branch, heads: Sequence[Head], asked: AskedInputs, layer: ir.Value, many: bool = False
) -> dict[ir.Value, ir.Value]:
    """The values at which the gradient starts, with their cotangents; row i belongs to image i.

    `many`: if there is one image, row i belongs to target i.

    For numbers in a row, the start is the input of the last product with weights. If `find_last_product` finds no such
    product, it is the head's value. Gather and ScatterElements raise an error if a target is out of range; OneHot or
    Equal would return a zero map without an error.
    """
    starts = list(accumulate((head.entries for head in heads), initial=0))
    chosen = settle_target(branch, heads, asked.target, many)
    rows = branch.Shape(chosen)
    products = [find_last_product(h.value, h.size, layer) if h.kind in IN_A_ROW else None for h in heads]
    if len(heads) == 1 and products[0] is not None:
        return {products[0].source: seed_source(branch, products[0], chosen)}
    zeros = branch.ConstantOfShape(branch.Concat(rows, [starts[-1]], axis=0), value=ir.tensor(np.zeros(1, np.float32)))
    ones = branch.ConstantOfShape(branch.Concat(rows, [1], axis=0), value=ir.tensor(np.ones(1, np.float32)))
    one_hot = branch.ScatterElements(zeros, branch.Unsqueeze(chosen, [1]), ones, axis=1)
    parts: Sequence[ir.Value] = [one_hot]
    if len(heads) > 1:
        sizes = [head.entries for head in heads]
        parts = branch.emit("Split", [one_hot, sizes], {"axis": 1}, outputs=len(heads))
    seeds: dict[ir.Value, ir.Value] = {}
    for head, start, product, part in zip(heads, starts, products, parts, strict=False):
        if product is not None:
            value, seed = product.source, _through_product(branch, product, head, chosen, start, part)
        else:
            value, seed = head.value, _cotangent(branch, head, part, asked, rows)
        seeds[value] = branch.Add(seeds[value], seed) if value in seeds else seed
    return seeds


def settle_target(branch: Branch, heads: Sequence[Head], target: ir.Value, many: bool) -> ir.Value:
    """The target of each row, int64 [rows]; the default head's best entry where it is negative."""
    # The logits are computed inside the branch. ONNX Runtime 1.31 crashes while it optimises the main graph's flattened
    # logits: a Reshape after a DequantizeLinear whose output a subgraph reads.
    numbers = map_of(branch, heads[0]) if heads[0].kind == "mask" else rows_of(branch, heads[0])
    batch = branch.Shape(numbers, start=0, end=1)
    spread = spread_over(branch, target, batch, many)
    best = _best(branch, heads[0], numbers, sum(head.entries for head in heads))
    return branch.Where(branch.Less(target, 0), best, spread)


def _best(branch: Branch, head: Head, numbers: ir.Value, count: int) -> ir.Value:
    """The entry that a negative target means, int64 [N] or a number for all images.

    The largest logit; value 0; the cosine; the class of a mask with most pixels. A box has none, so it is `count`,
    which is out of range.
    """
    if head.kind in ("classes", "labels"):
        return branch.ArgMax(numbers, axis=1, keepdims=0)
    if head.kind == "mask" and head.size > 1:
        if head.sigmoid:
            held = branch.Greater(numbers, 0.0)
        else:
            classes = np.arange(head.size).reshape(-1, 1, 1)
            held = branch.Equal(branch.ArgMax(numbers, axis=1, keepdims=1), classes)
        share = branch.ReduceMean(branch.Cast(held, to=ir.DataType.FLOAT), [2, 3], keepdims=0)
        return branch.ArgMax(share, axis=1, keepdims=0)
    return branch.constant(np.array(count if head.kind == "box" else 0, np.int64))


def _through_product(
    branch: Branch, product: LastProduct, head: Head, chosen: ir.Value, start: int, part: ir.Value
) -> ir.Value:
    """The gradient of a head's entry with respect to the source of its last product; zero for other heads' targets.

    A target of another head has no row among the weights: any row is gathered and multiplied by 0.
    """
    is_here = branch.ReduceSum(part, [1], keepdims=0)
    row = branch.Min(branch.Sub(chosen, start) if start else chosen, head.size - 1)
    return seed_source(branch, product, branch.Max(row, 0) if start else row, is_here)


def _cotangent(branch: Branch, head: Head, part: ir.Value, asked: AskedInputs, rows: ir.Value) -> ir.Value:
    """dy / d value in the shape of the head's value. `part`: float32 [rows, entries], one-hot or zero."""
    if head.kind == "embedding":
        assert asked.reference is not None
        return _shaped(branch, _of_cosine(branch, head, part, asked.reference, rows), head.value)
    if head.kind == "mask":
        assert asked.region is not None
        return _of_mean(branch, head, part, asked.region, rows)
    return _shaped(branch, part, head.value)


def _of_cosine(branch: Branch, head: Head, part: ir.Value, reference: ir.Value, rows: ir.Value) -> ir.Value:
    """d cos(e, r) / de = (r / ‖r‖ − cos(e, r) e / ‖e‖) / ‖e‖, float32 [rows, D]; NaN for a reference of zeros."""
    vector, other = rows_of(branch, head), _spread(branch, reference, rows, [head.size])
    length, other_length = (branch.ReduceL2(each, [1], keepdims=1) for each in (vector, other))
    along, towards = branch.Div(vector, length), branch.Div(other, other_length)
    cosine = branch.ReduceSum(branch.Mul(along, towards), [1], keepdims=1)
    slope = branch.Div(branch.Sub(towards, branch.Mul(cosine, along)), length)
    # Not a product with `part`: 0 · NaN would spoil the gradients of the other heads.
    return branch.Where(branch.Greater(part, 0.0), slope, 0.0)


def _of_mean(branch: Branch, head: Head, part: ir.Value, region: ir.Value, rows: ir.Value) -> ir.Value:
    """d (Σ R m_c / Σ R) / dm in the layout of the mask; NaN for an empty region."""
    assert head.map_size_hw is not None
    weights = _spread(branch, region, rows, [1, *head.map_size_hw])
    share = branch.Div(weights, branch.ReduceSum(weights, [1, 2, 3], keepdims=1))
    seed = branch.Where(branch.Greater(branch.Unsqueeze(part, [2, 3]), 0.0), share, 0.0)
    if _is_channels_last(head):
        seed = branch.Transpose(seed, perm=[0, 2, 3, 1])
    return seed if len(dims(head.value)) == 4 else branch.Squeeze(seed, [0])


def spread_over(branch: Branch, target: ir.Value, batch: ir.Value, many: bool) -> ir.Value:
    """One target per row of the gradient, int64: one for all images, one per image, or if `many` any for one image.

    Other numbers are an error at run time: in the Expand, or in the Reshape, since Expand accepts several targets, and
    none, for one image.
    """
    rows = branch.Max(batch, branch.Shape(target)) if many else batch
    return branch.Reshape(branch.Expand(target, batch), rows)


def _spread(branch: Branch, given: ir.Value, rows: ir.Value, sizes: Sequence[int]) -> ir.Value:
    """An input of 1 row or one per target as [rows, *sizes]; another number of rows is an error in the Reshape."""
    shape = branch.Concat(rows, list(sizes), axis=0)
    return branch.Reshape(branch.Expand(given, shape), shape)


def _is_channels_last(head: Head) -> bool:
    return head.channel_axis == len(dims(head.value)) - 1


def _shaped(branch: Branch, seed: ir.Value, value: ir.Value) -> ir.Value:
    shape = dims(value)
    return seed if len(shape) == 2 else branch.Reshape(seed, [-1, *shape[1:]])
