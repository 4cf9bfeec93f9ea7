"""Where the results of products lie: rows of the first factor, or columns of the second."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import onnx_ir as ir

from onnxplain.exporters.anatomy.moves import Followed, Known, ended, known_inputs, or_mixed, shape_of
from onnxplain.exporters.anatomy.places import AxisPlaces
from onnxplain.exporters.anatomy.positions import EndReason, FrameEnd, Positions
from onnxplain.exporters.graph.values import int_attribute
from onnxplain.exporters.operators.table import operator_of


def follow_product(node: ir.Node, known: Known) -> Followed:
    """Products: rows of the first factor keep their places, columns of the second where the first has none.

    So attention mixes tokens and keeps the place of each query.
    """
    twin = operator_of(node)
    found_at = dict(known_inputs(node, known))
    first, second = 0, twin.weight if twin.weight is not None else 1
    for number, found in found_at.items():
        if isinstance(found, FrameEnd) and number in (first, second):
            other = found_at.get(second if number == first else first)
            if not (number == second and isinstance(other, Positions) and not other.is_nowhere):
                return found
    shapes = [shape_of(node.inputs[number], known) for number in (first, second)]
    if shapes[0] is None or shapes[1] is None:
        return ended(node, EndReason.COMPUTED)
    factors = [found_at.get(number) for number in (first, second)]
    letters = product_letters(node, len(shapes[0]), len(shapes[1]))
    return _contract(node, [f if isinstance(f, Positions) else None for f in factors], [shapes[0], shapes[1]], letters)


def product_letters(node: ir.Node, *ranks: int) -> tuple[str, str, str]:
    """Gemm or MatMul of two factors as Einstein's sum: batches in front or, with transBatch, between the two others."""
    batch = "abcdefgh"[: max(*ranks, 2) - 2]
    terms, out = [], batch
    for rank, own, factor in zip(ranks, ("ik", "kj"), "AB", strict=True):
        own = own[::-1] if int_attribute(node, f"trans{factor}", 0) else own
        own = "k" if rank == 1 else own
        in_front = own[: int_attribute(node, f"transBatch{factor}", 0)]
        terms.append(in_front + batch[len(batch) - max(rank - 2, 0) :] + own[len(in_front) :])
        out += own.replace("k", "")
    return terms[0], terms[1], out


def summed_axis(node: ir.Node, number: int, rank: int) -> int:
    """The axis of the first (0) or another factor over which a product sums."""
    first, second, _ = product_letters(node, rank, rank)
    return (first if number == 0 else second).index("k")


def einsum_letters(node: ir.Node) -> Sequence[str] | None:
    """The terms of an Einsum and of its result; None for one with an ellipsis."""
    terms, _, out = node.attributes["equation"].as_string().replace(" ", "").partition("->")
    if "..." in terms:
        return None
    out = out or "".join(sorted(letter for letter in set(terms) - {","} if terms.count(letter) == 1))
    return [*terms.split(","), out]


def contract_letters(node: ir.Node, known: Known) -> Followed:
    """Einsum without an ellipsis."""
    inputs = known_inputs(node, known)
    for _, found in inputs:
        if isinstance(found, FrameEnd):
            return found
    letters = einsum_letters(node)
    shapes = [shape_of(value, known) for value in node.inputs]
    if letters is None or any(shape is None for shape in shapes):
        return ended(node, EndReason.UNKNOWN)
    factors = [known.get(value) if value is not None else None for value in node.inputs]
    placed = [factor if isinstance(factor, Positions) else None for factor in factors]
    return _contract(node, placed, [shape for shape in shapes if shape is not None], letters)


def _contract(
    node: ir.Node,
    factors: Sequence[Positions | None],
    shapes: Sequence[Sequence[int]],
    letters: Sequence[str],
) -> Followed:
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
            places: AxisPlaces,
            summed: list[int] = summed,
            order: list[int] = order,
            present: list[str] = present,
        ) -> AxisPlaces:
            left = places.reduce(summed, keepdims=False).transpose(order) if summed or order else places
            at = iter(left.at.shape)
            return replace(left, at=left.at.reshape([next(at) if letter in present else 1 for letter in out]))

        kept.append(factor.map_places([sizes[letter] for letter in out], spread))
    assert kept
    alive = [each for each in kept if not each.is_nowhere]
    source = next(factor for factor in factors if factor is not None)
    return alive[0] if alive else or_mixed(node, source, kept[0])
