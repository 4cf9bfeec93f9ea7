"""Following where every map lies in the image: from the image through the graph, operator by operator.

An operator that the table of operators does not know to keep, slide over or move positions ends the frame.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace

import onnx_ir as ir

from onnxplain.contract import AXES, Layout, MapFrame
from onnxplain.errors import UnsupportedError
from onnxplain.exporters.anatomy.arrangement import Arrangement
from onnxplain.exporters.anatomy.moves import (
    Followed,
    Known,
    ended,
    known_inputs,
    lay_side_by_side,
    move_nothing,
    reduce_axes,
    slide_window,
)
from onnxplain.exporters.anatomy.positions import EndReason, FrameEnd, Positions, of_image, read_frame
from onnxplain.exporters.anatomy.products import contract_letters, follow_product
from onnxplain.exporters.anatomy.resize import follow_resize
from onnxplain.exporters.anatomy.shifts import SHIFTS, is_scatter, split
from onnxplain.exporters.graph.path import sources_of
from onnxplain.exporters.graph.values import describe, int_attribute, maybe_dims, producer_of
from onnxplain.exporters.operators.expansion import expansion_of
from onnxplain.exporters.operators.operator import Places as Kinds
from onnxplain.exporters.operators.table import OPERATORS, operator_of

FOLLOWED_MOVES = {**SHIFTS, "Resize": follow_resize, "Upsample": follow_resize}
OF_SEVERAL: dict[str, Callable[[ir.Node, Known], Followed]] = {
    "Concat": lay_side_by_side,
    "Einsum": contract_letters,
    "Gemm": follow_product,
    "MatMul": follow_product,
}


def follow_positions(graph: ir.Graph, image: ir.Value, layout: Layout) -> dict[ir.Value, Followed]:
    """Where the entries of every value that depends on the image lie, or which operator ended that."""
    shape = maybe_dims(image) or ()
    sizes = tuple(size if isinstance(size, int) else 1 for size in shape)
    if not all(isinstance(shape[axis], int) for axis in AXES[layout]):
        return {}
    known: dict[ir.Value, Followed] = {image: of_image(layout, sizes)}
    opset = graph.opset_imports.get("", 18)
    for node in graph:
        _follow(node, known, opset)
    return known


def read_frames(
    places: Mapping[ir.Value, Followed], arrangements: Mapping[ir.Value, Arrangement], input_size_hw: tuple[int, int]
) -> dict[ir.Value, MapFrame | FrameEnd]:
    """The frame of every value that holds maps, or why it has none."""
    frames: dict[ir.Value, MapFrame | FrameEnd] = {}
    for value, arrangement in arrangements.items():
        place = places.get(value)
        if isinstance(place, Positions):
            node = producer_of(value)
            name = f"value {value.name!r}" if node is None else describe(node)
            frame = read_frame(place, arrangement, input_size_hw)
            frames[value] = frame or place.end or FrameEnd(EndReason.MOVED, name)
        elif place is not None:
            frames[value] = place
    return frames


def _follow(node: ir.Node, known: dict[ir.Value, Followed], opset: int) -> None:
    """Note where the node's outputs lie, if it depends on the image at all."""
    inputs = known_inputs(node, known)
    row = operator_of(node)
    is_known = (row.domain, row.name) in OPERATORS
    if is_known and row.places is None and not row.control_flow:
        return
    if not inputs:
        if row.control_flow and _captures(node, known):
            known.update(dict.fromkeys(node.outputs, ended(node, EndReason.UNKNOWN)))
        return
    if not is_known or _has_channels_last(node):
        found = _through_body(node, known, opset)
    elif row.computes == "Split":
        source = known[node.inputs[0]] if node.inputs[0] in known else ended(node, EndReason.UNKNOWN)
        found = split(node, source, known) if isinstance(source, Positions) else [source] * len(node.outputs)
    else:
        found = [_place_of(node, known)]
    first = found[0]
    for number, output in enumerate(node.outputs):
        if number < len(found):
            known[output] = found[number]
        else:
            # A second output: the numbers of maxima, means and deviations of a normalization.
            alike = maybe_dims(output) is not None and maybe_dims(output) == maybe_dims(node.outputs[0])
            known[output] = first if alike else ended(node, EndReason.UNKNOWN)


def _place_of(node: ir.Node, known: dict[ir.Value, Followed]) -> Followed:
    row = operator_of(node)
    if row.computes in OF_SEVERAL:
        return OF_SEVERAL[row.computes](node, known)
    if row.computes in FOLLOWED_MOVES:
        source = known.get(node.inputs[0]) if node.inputs[0] is not None else None
        others = [number for number, _ in known_inputs(node, known) if number > 0]
        if source is None or others:
            return ended(node, EndReason.PICKED if row.places is Kinds.LOST else EndReason.COMPUTED)
        return FOLLOWED_MOVES[row.computes](node, source, known) if isinstance(source, Positions) else source
    if is_scatter(node) and any(number > 0 for number, _ in known_inputs(node, known)):
        return ended(node, EndReason.MOVED)
    if row.places is Kinds.KEPT:
        return move_nothing(node, known)
    if row.places is Kinds.WINDOW:
        return slide_window(node, known)
    if row.places is Kinds.LOST:
        summed = row.computes.startswith(("Reduce", "Global", "Arg"))
        return reduce_axes(node, known) if summed else ended(node, EndReason.PICKED)
    return ended(node, EndReason.UNKNOWN)


def _through_body(node: ir.Node, known: dict[ir.Value, Followed], opset: int) -> list[Followed]:
    """Through the standard nodes that an operator is made of."""
    unknown: list[Followed] = [ended(node, EndReason.UNKNOWN)]
    try:
        with expansion_of(node, opset) as expansion:
            if expansion is None:
                return unknown
            inside = dict(known_inputs_by_value(node, known))
            for inner in expansion.nodes:
                _follow(inner, inside, opset)
            results = [unknown[0] if value is None else inside.get(value) for value in expansion.outputs]
    except UnsupportedError:
        return unknown
    return [_named(found, node) if found is not None else unknown[0] for found in results]


def _has_channels_last(node: ir.Node) -> bool:
    """Whether it slides over [N, h, w, C]. The standard operators that it is made of do so between two Transposes."""
    return node.op_type == "NhwcMaxPool" or bool(int_attribute(node, "channels_last", 0))


def known_inputs_by_value(node: ir.Node, known: Mapping[ir.Value, Followed]) -> dict[ir.Value, Followed]:
    """The inputs that depend on the image."""
    return {value: known[value] for value in node.inputs if value is not None and value in known}


def _named(found: Followed, node: ir.Node) -> Followed:
    """The place, an end inside the node's body told as the node's own."""
    inside = f"{node.outputs[0].name}/made_of"
    if isinstance(found, FrameEnd):
        return replace(found, node=describe(node)) if inside in found.node else found
    if found.end is not None and inside in found.end.node:
        return replace(found, end=replace(found.end, node=describe(node)))
    return found


def _captures(node: ir.Node, known: Mapping[ir.Value, Followed]) -> bool:
    return any(value in known for value in sources_of(node))
