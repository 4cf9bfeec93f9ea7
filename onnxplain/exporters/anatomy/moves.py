"""How operators move the positions of what they read: one function per kind, one row per operator that needs its own.

An operator without a row here follows the field `places` of the operators' table; one that the table does not know goes
through the nodes that it is made of, or ends the frame.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

import numpy as np
import onnx_ir as ir

from onnxplain.exporters.anatomy.places import Grid, Places, join, meet
from onnxplain.exporters.anatomy.positions import EndReason, FrameEnd, Positions
from onnxplain.exporters.graph.branch import Branch
from onnxplain.exporters.graph.values import constant_of, describe, int_attribute, maybe_dims, reduced_axes
from onnxplain.exporters.operators.site import Site
from onnxplain.exporters.operators.table import look_up, operator_of
from onnxplain.exporters.operators.window import Window, read_transposed_window, read_window

Place = Positions | FrameEnd
Known = Mapping[ir.Value, Place]
FIRST_SPATIAL = 2


def ended(node: ir.Node, reason: EndReason) -> FrameEnd:
    """The end of the frame at a node."""
    return FrameEnd(reason, describe(node))


def known_inputs(node: ir.Node, known: Known) -> list[tuple[int, Place]]:
    """The inputs that depend on the image, with their number."""
    return [(number, known[value]) for number, value in enumerate(node.inputs) if value is not None and value in known]


def shape_of(value: ir.Value | None, known: Known) -> tuple[int, ...] | None:
    """The value's shape, a batch of any size as 1; None where more is open."""
    if value is None:
        return None
    found = known.get(value)
    if isinstance(found, Positions):
        return found.shape
    shape = maybe_dims(value)
    if shape is None or any(isinstance(size, str) for size in shape[1:]):
        return None
    return tuple(size if isinstance(size, int) else 1 for size in shape)


def _align(places: Places, rank: int) -> Places:
    return replace(places, at=places.at.reshape((1,) * (rank - places.at.ndim) + places.at.shape))


def move_nothing(node: ir.Node, known: Known) -> Place:
    """Entry by entry, operands broadcast against each other; they must agree where they have places."""
    inputs = known_inputs(node, known)
    placed = [found for _, found in inputs if isinstance(found, Positions)]
    if not placed:
        return next(found for _, found in inputs if isinstance(found, FrameEnd))
    broadcasts = look_up("", operator_of(node).computes).broadcasts
    shapes = [shape_of(value, known) for value in node.inputs if value is not None] if broadcasts else []
    try:
        shape = np.broadcast_shapes(placed[0].shape, *(each for each in shapes if each is not None))
    except ValueError:
        return ended(node, EndReason.UNKNOWN)
    rank = len(shape)
    together = [
        each
        for each in placed
        if len(each.shape) <= rank and all(size in (1, own) for size, own in zip(each.shape[::-1], shape[::-1], strict=False))
    ]
    rows, columns = (meet([_align(places, rank) for places in axis]) for axis in zip(*(p.both for p in together), strict=True))
    if rows is None or columns is None:
        return ended(node, EndReason.DISAGREE)
    result = Positions(shape, rows, columns, _first_end(together))
    for (number, found), value in ((each, node.inputs[each[0]]) for each in inputs):
        if isinstance(found, FrameEnd) and (broadcasts or number == 0) and not _is_one_place(value, result):
            return found
    return result


def _first_end(operands: Sequence[Positions]) -> FrameEnd | None:
    """Positions that are in order win over such as are not: these have no say in where the result lies."""
    return None if any(each.end is None for each in operands) else operands[0].end


def _is_one_place(value: ir.Value | None, result: Positions) -> bool:
    """Whether an operand has one entry only along every axis on which the result's places differ."""
    shape = None if value is None else maybe_dims(value)
    if shape is None:
        return False
    sizes = (1,) * (len(result.shape) - len(shape)) + tuple(shape)
    return all(size == 1 for axis, size in enumerate(sizes) if result.varies_along(axis))


def slide_window(node: ir.Node, known: Known) -> Place:
    """Convolutions and pools: each result lies at the middle of its window."""
    source = known[node.inputs[0]] if node.inputs[0] in known else None
    if not isinstance(source, Positions):
        return source or ended(node, EndReason.UNKNOWN)
    site = Site(node, Branch("frames"), frozenset(), ())
    out = shape_of(node.outputs[0], {})
    transposed = operator_of(node).computes == "ConvTranspose"
    kernel = _kernel_of(site)
    if out is None or kernel is None:
        return ended(node, EndReason.COMPUTED)
    if source.is_nowhere:
        return source.map_places((source.shape[0], *out[1:]), lambda places: places.nowhere(len(out)))
    window = read_transposed_window(site, kernel) if transposed else read_window(site, kernel)
    merged = [places.merge(1) for places in source.both]
    if any(places is None for places in merged):
        return ended(node, EndReason.DISAGREE)
    rows, columns = (places for places in merged if places is not None)
    moved = replace(source, rows=rows, columns=columns)
    for axis in range(window.rank):
        tensor_axis = FIRST_SPATIAL + axis
        if (window.kernel[axis], window.strides[axis], window.pads_begin[axis]) == (1, 1, 0):
            continue
        if not all(places.is_even_along(tensor_axis) for places in moved.both):
            return source.end or ended(node, EndReason.UNEVEN)
        moved = _slide_along(moved, window, axis, out[tensor_axis], transposed=transposed)
    return replace(moved, shape=(source.shape[0], *out[1:]))


def _slide_along(source: Positions, window: Window, axis: int, count: int, *, transposed: bool) -> Positions:
    stride, spread = window.strides[axis], (window.extent[axis] - 1) / 2
    start, step = spread - window.pads_begin[axis], float(stride)
    if transposed:
        start, step, spread = -start / stride, 1 / stride, spread / stride
    grid = Grid(start, step, count, spread)
    return source.map_places(source.shape, lambda places: places.regrid(FIRST_SPATIAL + axis, grid))


def _kernel_of(site: Site) -> tuple[int, ...] | None:
    stated = site.attribute("kernel_shape")
    if stated:
        return tuple(stated)
    weight = operator_of(site.node).weight
    shape = None if weight is None else maybe_dims(site.value(weight))
    sizes = [size for size in (shape or ())[2:] if isinstance(size, int)]
    return tuple(sizes) if shape is not None and sizes and len(sizes) == len(shape) - 2 else None


def reduce_axes(node: ir.Node, known: Known) -> Place:
    """Sums and means along axes: of places that differ there nothing is left."""
    source = known[node.inputs[0]] if node.inputs[0] in known else None
    if not isinstance(source, Positions):
        return source or ended(node, EndReason.UNKNOWN)
    rank = len(source.shape)
    if node.op_type.startswith("Reduce"):
        axes, keepdims = reduced_axes(node, rank), bool(int_attribute(node, "keepdims", 1))
    elif node.op_type in ("ArgMax", "ArgMin"):
        axes, keepdims = (int_attribute(node, "axis", 0) % rank,), bool(int_attribute(node, "keepdims", 1))
    else:
        axes, keepdims = tuple(range(FIRST_SPATIAL, rank)), True
    if axes is None:
        return ended(node, EndReason.COMPUTED)
    kept = [1 if axis in axes else size for axis, size in enumerate(source.shape)]
    shape = kept if keepdims else [size for axis, size in enumerate(kept) if axis not in axes]
    return _or_mixed(node, source, source.map_places(shape, lambda places: places.reduce(axes, keepdims)))


def _or_mixed(node: ir.Node, source: Positions, result: Positions) -> Positions:
    """The result, which says at which node its positions were mixed."""
    lost = result.rows.is_nowhere or result.columns.is_nowhere
    return replace(result, end=source.end or ended(node, EndReason.MIXED)) if lost else result


def multiply(node: ir.Node, known: Known) -> Place:
    """Products: rows of the first factor keep their places, columns of the second where the first has none.

    So attention mixes tokens and keeps the place of each query.
    """
    twin = operator_of(node)
    numbers = [number for number, _ in known_inputs(node, known)]
    first, second = 0, twin.weight if twin.weight is not None else 1
    for number in numbers:
        found = known[node.inputs[number]]  # type: ignore[index]
        if isinstance(found, FrameEnd) and number in (first, second):
            other = known.get(node.inputs[second if number == first else first])  # type: ignore[arg-type]
            if not (number == second and isinstance(other, Positions) and not other.is_nowhere):
                return found
    shapes = [shape_of(node.inputs[number], known) for number in (first, second)]
    if shapes[0] is None or shapes[1] is None:
        return ended(node, EndReason.COMPUTED)
    factors = [known.get(node.inputs[number]) for number in (first, second)]  # type: ignore[arg-type]
    letters = _letters(node, shapes[0], shapes[1])
    return _contract(node, [f if isinstance(f, Positions) else None for f in factors], [shapes[0], shapes[1]], letters)


def _letters(node: ir.Node, first: Sequence[int], second: Sequence[int]) -> tuple[str, str, str]:
    """The product as Einstein's sum: Gemm and MatMul, batches in front."""
    left, right = "ik", "kj"
    if int_attribute(node, "transA", 0):
        left = "ki"
    if int_attribute(node, "transB", 0):
        right = "jk"
    if len(first) == 1:
        left = "k"
    if len(second) == 1:
        right = "k"
    batch = "abcdefgh"[: max(len(first), len(second), 2) - 2]
    front_left, front_right = (batch[len(batch) - max(len(s) - 2, 0) :] for s in (first, second))
    out = batch + left.replace("k", "") + right.replace("k", "")
    return front_left + left, front_right + right, out


def contract_letters(node: ir.Node, known: Known) -> Place:
    """Einsum without an ellipsis."""
    terms, _, out = node.attributes["equation"].as_string().replace(" ", "").partition("->")
    inputs = known_inputs(node, known)
    for _, found in inputs:
        if isinstance(found, FrameEnd):
            return found
    letters = terms.split(",")
    shapes = [shape_of(value, known) for value in node.inputs]
    if "..." in terms or any(shape is None for shape in shapes):
        return ended(node, EndReason.UNKNOWN)
    out = out or "".join(sorted(letter for letter in set(terms) - {","} if terms.count(letter) == 1))
    factors = [known.get(value) if value is not None else None for value in node.inputs]
    placed = [factor if isinstance(factor, Positions) else None for factor in factors]
    return _contract(node, placed, [shape for shape in shapes if shape is not None], (*letters, out))


def _contract(
    node: ir.Node,
    factors: Sequence[Positions | None],
    shapes: Sequence[Sequence[int]],
    letters: Sequence[str],
) -> Place:
    """An Einstein sum: the first factor that still has a place along a letter of the result gives it."""
    *terms, out = letters
    sizes: dict[str, int] = {}
    for term, shape in zip(terms, shapes, strict=True):
        for letter, size in zip(term, shape, strict=True):
            sizes[letter] = max(size, sizes.get(letter, 1))
    kept: list[Positions] = []
    for term, factor in zip(terms, factors, strict=True):
        if factor is None:
            continue
        summed = [axis for axis, letter in enumerate(term) if letter not in out]
        rest = [letter for letter in term if letter in out]
        present = [letter for letter in out if letter in rest]
        order = [rest.index(letter) for letter in present]

        def spread(
            places: Places,
            summed: list[int] = summed,
            order: list[int] = order,
            present: list[str] = present,
        ) -> Places:
            left = places.reduce(summed, keepdims=False).transpose(order) if summed or order else places
            at = iter(left.at.shape)
            return replace(left, at=left.at.reshape([next(at) if letter in present else 1 for letter in out]))

        kept.append(factor.map_places([sizes[letter] for letter in out], spread))
    assert kept
    alive = [each for each in kept if not each.is_nowhere]
    source = next(factor for factor in factors if factor is not None)
    return alive[0] if alive else _or_mixed(node, source, kept[0])


def lay_side_by_side(node: ir.Node, known: Known) -> Place:
    """Concat: along channels the operands must agree; along positions they must go on from each other."""
    inputs = known_inputs(node, known)
    for _, found in inputs:
        if isinstance(found, FrameEnd):
            return found
    first = next(found for _, found in inputs if isinstance(found, Positions))
    rank = len(first.shape)
    axis = int_attribute(node, "axis", 0) % rank
    every = range(2, len(node.inputs), 3) if operator_of(node).twin else range(len(node.inputs))
    operands, sizes = [], []
    for number in every:
        value = node.inputs[number]
        found, shape = known.get(value) if value is not None else None, shape_of(value, known)
        if shape is None or len(shape) != rank:
            return ended(node, EndReason.COMPUTED)
        sizes.append(shape[axis])
        operands.append(found if isinstance(found, Positions) else first.map_places(shape, lambda p: p.nowhere(rank)))
    rows, columns = (join(axes, sizes, axis) for axes in zip(*(each.both for each in operands), strict=True))
    shape = (*first.shape[:axis], sum(sizes), *first.shape[axis + 1 :])
    return in_order(node, Positions(shape, rows, columns, _first_end(operands)), axis)


def in_order(node: ir.Node, result: Positions, *axes: int) -> Positions:
    """The result, which says at which node its positions lost their order along some axes; or have it again."""
    orderly = all(
        places.is_even_along(axis) or places.merge(axis) is not None
        for places in result.both
        for axis in range(len(result.shape))
        if axis in axes
    )
    if orderly:
        return replace(result, end=None) if not result.is_nowhere else result
    return replace(result, end=result.end or ended(node, EndReason.MOVED))


def constant_ints(node: ir.Node, index: int) -> list[int] | None:
    """The whole numbers of an input that is constant, None where it is not or is missing."""
    if index >= len(node.inputs) or node.inputs[index] is None:
        return None
    content = constant_of(node.inputs[index])
    return None if content is None else [int(number) for number in np.asarray(content).reshape(-1)]


FUNCTIONS: dict[str, Callable[[ir.Node, Known], Place]] = {
    "Concat": lay_side_by_side,
    "Einsum": contract_letters,
    "Gemm": multiply,
    "MatMul": multiply,
}
