"""Which maps have a gradient at their positions, for every output: what graphs rule out by their structure alone.

Behind the last attention of a class-token transformer only the class token leads to the logits: what works position by
position passes that on, what mixes positions (attention, convolutions, pools) reads them all. And where a head is made
of parts side by side, a map may lead to some of the outputs only.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import onnx_ir as ir

from onnxplain.exporters.anatomy.moves import Followed
from onnxplain.exporters.anatomy.positions import Positions
from onnxplain.exporters.anatomy.products import summed_axis
from onnxplain.exporters.graph.values import int_attribute, maybe_dims, producer_of, reduced_axes, upstream
from onnxplain.exporters.operators.operator import Hands, Places
from onnxplain.exporters.operators.table import OPERATORS, hands_on, operator_of

# Of the operators that keep places, those whose every result depends on all positions.
OVER_ALL = frozenset({"InstanceNormalization", "GroupNormalization", "CumSum"})
OVER_AXIS = {"Softmax": -1, "LogSoftmax": -1, "LpNormalization": -1}
OVER_REST = {"LayerNormalization": -1, "RMSNormalization": -1}


@dataclass
class _Reached:
    """Whether a target depends on a value: on entries that have a place, and on those that have none."""

    placed: bool = False
    others: bool = False

    @property
    def at_all(self) -> bool:
        return self.placed or self.others


def live_values(
    graph: ir.Graph, targets: Sequence[ir.Value], places: Mapping[ir.Value, Followed], *, every: bool = True
) -> set[ir.Value]:
    """Values whose positions lead to every part of every target; `every` False: to any."""
    parts = [part for target in targets for part in _parts(target, places)]
    found = [_live_for(graph, part, places) for part in parts]
    return set.intersection(*found) if every else set.union(*found)


def _parts(value: ir.Value, places: Mapping[ir.Value, Followed]) -> list[ir.Value]:
    """What a Concat right before the target lays side by side; the target itself where there is none."""
    while (node := producer_of(value)) is not None:
        sources = [source for source in node.inputs if source is not None and source in places]
        row = operator_of(node)
        if row.computes == "Concat":
            return [part for source in sources for part in _parts(source, places)]
        alone = hands_on(node, *Hands) or (row.places is Places.KEPT and row.weight is None)
        if len(sources) != 1 or not alone or row.computes in OVER_AXIS or row.computes in OVER_REST:
            break
        (value,) = sources
    return [value]


def _live_for(graph: ir.Graph, target: ir.Value, places: Mapping[ir.Value, Followed]) -> set[ir.Value]:
    needed = set(upstream(target))
    reached: dict[ir.Value, _Reached] = {target: _Reached(True, True)}
    for node in reversed(list(graph)):
        if node not in needed:
            continue
        for output in node.outputs:
            to = reached.get(output)
            if to is None or not to.at_all:
                continue
            for number, source in enumerate(node.inputs):
                if source is not None and source in places:
                    _pass_on(reached.setdefault(source, _Reached()), to, node, number, output, places)
    return {value for value, to in reached.items() if to.placed}


def _pass_on(
    to: _Reached, of: _Reached, node: ir.Node, number: int, output: ir.Value, places: Mapping[ir.Value, Followed]
) -> None:
    source = node.inputs[number]
    before, after = None if source is None else places.get(source), places.get(output)
    if not isinstance(before, Positions) or not isinstance(after, Positions) or _mixes(node, number, places):
        to.placed, to.others = True, True
        return
    had, has = _kinds(before), _kinds(after)
    to.placed |= had.placed and has.placed and of.placed
    to.others |= had.others and ((has.others and of.others) or (not had.placed and of.at_all))


def _kinds(found: Positions) -> _Reached:
    """Whether there are entries that have a place, and entries that have none."""
    lacking = np.isnan(found.rows.at) if not found.rows.is_nowhere else np.isnan(found.columns.at)
    return _Reached(not lacking.all(), bool(lacking.any()))


def _mixes(node: ir.Node, number: int, places: Mapping[ir.Value, Followed]) -> bool:
    """Whether each result depends on many positions of this input; an operator that is not known counts as one."""
    row, source = operator_of(node), node.inputs[number]
    found = None if source is None else places.get(source)
    if not isinstance(found, Positions) or (row.domain, row.name) not in OPERATORS:
        return True
    rank = len(found.shape)
    if row.computes in ("MatMul", "Gemm"):
        along = found.varies_along(summed_axis(node, number, rank))
        if number == 0:
            return along
        first = places.get(node.inputs[0]) if node.inputs[0] is not None else None
        return along or (isinstance(first, Positions) and not first.is_nowhere)
    if row.places is Places.WINDOW:
        kernel = node.attributes.get_ints("kernel_shape", ()) or _weight_kernel(node, row.weight)
        return any(size != 1 for size in kernel)
    if row.places is Places.LOST and row.computes.startswith("Reduce"):
        return any(found.varies_along(axis) for axis in reduced_axes(node, rank) or range(rank))
    if row.computes in OVER_AXIS:
        return found.varies_along(int_attribute(node, "axis", OVER_AXIS[row.computes]) % rank)
    if row.computes in OVER_REST:
        return any(map(found.varies_along, range(int_attribute(node, "axis", -1) % rank, rank)))
    return row.computes in OVER_ALL or (row.places is Places.LOST and row.computes != "Gather")


def _weight_kernel(node: ir.Node, weight: int | None) -> Sequence[int | str]:
    value = None if weight is None else node.inputs[weight]
    return (maybe_dims(value) or ())[2:] if value is not None else ()
