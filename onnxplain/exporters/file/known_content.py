"""What a value will be in every run: it depends on initializers and on sizes that the file states, and on no image."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import onnx_ir as ir

from onnxplain.exporters.graph.values import STANDARD, evaluate_node, int_attribute, maybe_dims, producer_of


def known_content(value: ir.Value | None) -> np.ndarray | None:
    """The content of a value that depends on initializers and on static sizes only, else None."""
    content = None if value is None else _partly_known(value, {})
    return None if content is None or not content.known.all() else content.array


@dataclass(frozen=True)
class _Content:
    """An array, and which of its entries are known: the sizes of a shape, say, but not the batch."""

    array: np.ndarray
    known: np.ndarray


def _partly_known(value: ir.Value, found: dict[ir.Value, _Content | None]) -> _Content | None:
    """Each value of a chain is looked at once, however many of its nodes read it."""
    if value not in found:
        found[value] = _look_at(value, found)
    return found[value]


def _look_at(value: ir.Value, found: dict[ir.Value, _Content | None]) -> _Content | None:
    node = producer_of(value)
    if node is None:
        stored = None if value.is_graph_input() or value.const_value is None else value.const_value.numpy()
        return None if stored is None else _Content(stored, np.ones(stored.shape, bool))
    if node.domain not in STANDARD or node.op_type in UNPREDICTABLE:
        return None
    if node.op_type in ("Shape", "Size"):
        return _size(node)
    operands = [None if source is None else _partly_known(source, found) for source in node.inputs]
    if any(operand is None and source is not None for operand, source in zip(operands, node.inputs, strict=True)):
        return None
    arrays = [None if operand is None else operand.array for operand in operands]
    moved = MOVED_OPERANDS.get(node.op_type, 0)
    others = [] if moved is None else operands[moved:]
    if not all(operand is None or operand.known.all() for operand in others):
        return None
    result = evaluate_node(node, arrays)[value.index() or 0]
    if all(operand is None or operand.known.all() for operand in operands):
        return _Content(result, np.ones(result.shape, bool))
    masks = [None if each is None else each.known.astype(each.array.dtype) for each in operands[:moved]]
    return _Content(result, evaluate_node(node, [*masks, *arrays[len(masks) :]])[0] != 0)


def _size(node: ir.Node) -> _Content | None:
    shape = None if node.inputs[0] is None else maybe_dims(node.inputs[0])
    if shape is None:
        return None
    sizes = np.array([size if isinstance(size, int) else 0 for size in shape], np.int64)
    known = np.array([isinstance(size, int) for size in shape], bool)
    if node.op_type == "Size":
        return _Content(np.array(sizes.prod()), np.array(known.all()))
    part = slice(int_attribute(node, "start", 0), node.attributes.get_int("end", len(shape)))
    return _Content(sizes[part], known[part])


# Operators that only move entries, and how many of their first operands hold them; None: all.
MOVED_OPERANDS: dict[str, int | None] = {
    **dict.fromkeys(("Cast", "Gather", "Identity", "Reshape", "Slice", "Squeeze", "Unsqueeze"), 1),
    "Concat": None,
}
UNPREDICTABLE = frozenset(
    {"Bernoulli", "If", "Loop", "Multinomial", "RandomNormal", "RandomNormalLike", "RandomUniform"}
    | {"RandomUniformLike", "Scan"}
)
