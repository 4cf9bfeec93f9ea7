"""The blocks of a transformer: the tokens at the end of each, and the head that reads those of the last."""

from __future__ import annotations

import contextlib
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

import onnx_ir as ir

from onnxplain.exporters.anatomy.arrangement import Arrangement
from onnxplain.exporters.anatomy.attention import FoundAttention
from onnxplain.exporters.graph.path import path_between, sources_of
from onnxplain.exporters.graph.values import FLOATS, downstream, is_constant, maybe_dims
from onnxplain.exporters.operators.operator import Hands
from onnxplain.exporters.operators.table import operator_of


@dataclass(frozen=True)
class Blocks:
    """`ends`: for each layer of attention the tokens at the end of its block, all of one shape.

    `head`: the nodes behind the last end, in the graph's order. They compute the answers from it alone, so they can
    read the tokens of another block.
    """

    ends: tuple[ir.Value, ...]
    head: tuple[ir.Node, ...]

    @contextlib.contextmanager
    def head_at(self, end: ir.Value) -> Iterator[None]:
        """Let the head of the graph read the tokens of another block, for a while."""
        changed = [
            (node, index) for node in self.head for index, each in enumerate(node.inputs) if each is self.ends[-1]
        ]
        for node, index in changed:
            node.replace_input_with(index, end)
        try:
            yield
        finally:
            for node, index in changed:
                node.replace_input_with(index, self.ends[-1])


def find_blocks(
    attention: FoundAttention, arrangements: Mapping[ir.Value, Arrangement], targets: Sequence[ir.Value]
) -> Blocks | None:
    """None where a block does not end in one value, or the last does not end as the others do."""
    forms = attention.tokens, replace(attention.tokens, form="nct")
    values = [each.value for each in attention.matrices]
    cuts = [
        [cut for cut in _cuts(value, targets) if arrangements.get(cut) in forms and cut.dtype in FLOATS]
        for value in values
    ]
    ends: list[ir.Value] = []
    for found, after in zip(cuts, values[1:], strict=False):
        before = [cut for cut in found if any(after in node.outputs for node in downstream(cut))]
        if not before:
            return None
        ends.append(before[-1])
    if ends:
        operators = _operators(values[-2], ends[-1])
        last = [cut for cut in cuts[-1] if _operators(values[-1], cut) == operators]
    else:
        last = cuts[-1]
    if not last:
        return None
    ends.append(last[-1])
    head = tuple(path_between(ends[-1], targets))
    alike = all(maybe_dims(end) == maybe_dims(ends[-1]) and end in cuts[0] for end in ends)
    rows = [operator_of(node) for node in head]
    differs = any(row.control_flow or row.integers is not None or row.hands is Hands.ROUNDED for row in rows)
    return Blocks(tuple(ends), head) if alike and not differs and _reads_alone(head, ends[-1]) else None


def _reads_alone(head: Sequence[ir.Node], end: ir.Value) -> bool:
    """Whether the nodes read no other floats of the image than `end`; sizes may come from anywhere."""
    known = {end, *(output for node in head for output in node.outputs)}
    read = {source for node in head for source in node.inputs if source is not None}
    return all(each in known or each.dtype not in FLOATS or is_constant(each) for each in read)


def _cuts(value: ir.Value, targets: Sequence[ir.Value]) -> Iterator[ir.Value]:
    """The values behind `value` through which all that depends on it passes on its way to the targets, in order."""
    path = path_between(value, targets)
    last: dict[ir.Value, float] = {}
    for place, node in enumerate(path):
        last.update(dict.fromkeys(sources_of(node), place))
    last.update(dict.fromkeys(targets, math.inf))
    alive = {value}
    for place, node in enumerate(path):
        alive.update(node.outputs)
        alive = {each for each in alive if last.get(each, -1) > place}
        if len(alive) == 1 and alive <= set(node.outputs):
            yield from alive


def _operators(start: ir.Value, end: ir.Value) -> list[str]:
    return [node.op_type for node in path_between(start, [end])]
