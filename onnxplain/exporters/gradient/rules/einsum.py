"""Einsum in its general form: any number of operands, an ellipsis, letters that repeat, no output stated."""

from __future__ import annotations

import string
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import onnx_ir as ir

from onnxplain.exporters.graph.values import Dims
from onnxplain.exporters.operators.site import Gradients, Site

ELLIPSIS = "..."


@dataclass(frozen=True)
class _Equation:
    """One letter per axis of each operand and of the result; an ellipsis has letters of its own."""

    terms: tuple[str, ...]
    result: str


def einsum(at: Site, g: ir.Value) -> Gradients:
    """Y = Σ Π of operands: the gradient of one is the einsum of dY with the others, its letters as output."""
    shapes = [at.input_dims(index) for index in range(len(at.node.inputs))]
    equation = _read(at.attribute("equation"), shapes)
    sizes = _sizes(equation, shapes)
    operands = [_without_stretched(at, index, term, shapes[index], sizes) for index, term in enumerate(equation.terms)]
    return [
        _gradient_of(at, g, index, equation, operands, sizes) if at.needs(index) else None
        for index in range(len(equation.terms))
    ]


def _read(text: str, shapes: Sequence[Dims]) -> _Equation:
    """The equation with an ellipsis written as letters, the last ones of the operands aligned (numpy.einsum)."""
    left, arrow, result = text.replace(" ", "").partition("->")
    terms = left.split(",")
    named = set(left) & set(string.ascii_letters)
    free = [letter for letter in string.ascii_letters if letter not in named]
    longest = max(
        (len(shape) - len(term) + len(ELLIPSIS) for term, shape in zip(terms, shapes, strict=True) if ELLIPSIS in term),
        default=0,
    )
    hidden = "".join(free[:longest])
    if not arrow:
        # Implicit: the ellipsis, then the letters that appear once, in the order of the alphabet.
        result = ELLIPSIS * (ELLIPSIS in left) + "".join(sorted(each for each in named if left.count(each) == 1))

    def spelled(term: str, count: int) -> str:
        return term.replace(ELLIPSIS, hidden[longest - count :])

    counts = [len(shape) - len(term) + len(ELLIPSIS) for term, shape in zip(terms, shapes, strict=True)]
    written = tuple(spelled(term, count) for term, count in zip(terms, counts, strict=True))
    return _Equation(written, spelled(result, longest))


def _sizes(equation: _Equation, shapes: Sequence[Dims]) -> dict[str, int | str]:
    """The size of each letter: the one that is not 1, where operands are stretched."""
    sizes: dict[str, int | str] = {}
    for term, shape in zip(equation.terms, shapes, strict=True):
        for letter, size in zip(term, shape, strict=True):
            if sizes.get(letter, 1) == 1:
                sizes[letter] = size
    return sizes


def _without_stretched(
    at: Site, index: int, term: str, shape: Dims, sizes: dict[str, int | str]
) -> tuple[str, ir.Value | None]:
    """An operand without the axes of size 1 along which it is stretched, and its letters that are left."""
    axes = [axis for axis, letter in enumerate(term) if shape[axis] == 1 and sizes[letter] != 1]
    letters = "".join(letter for axis, letter in enumerate(term) if axis not in axes)
    # Read only where the gradient of another one is wanted: what is not read stays fusible.
    if not any(at.needs(other) for other in range(len(at.node.inputs)) if other != index):
        return letters, None
    return letters, at.branch.Squeeze(at.input(index), axes) if axes else at.input(index)


def _gradient_of(
    at: Site,
    g: ir.Value,
    index: int,
    equation: _Equation,
    operands: Sequence[tuple[str, ir.Value | None]],
    sizes: dict[str, int | str],
) -> ir.Value:
    op, term = at.branch, operands[index][0]
    others = [operand for position, operand in enumerate(operands) if position != index]
    known = set(equation.result).union(*(letters for letters, _ in others))
    distinct = "".join(dict.fromkeys(term))
    reachable = "".join(letter for letter in distinct if letter in known)
    left = ",".join([equation.result, *(letters for letters, _ in others)])
    gradient = op.Einsum(g, *(value for _, value in others), equation=f"{left}->{reachable}")
    lost = [axis for axis, letter in enumerate(distinct) if letter not in known]
    if lost:
        # A letter that only this operand has was summed over: every position gets the same.
        gradient = op.Unsqueeze(gradient, lost)
    if len(distinct) < len(term):
        gradient = _on_the_diagonal(at, gradient, distinct, term, sizes)
    if len(term) < len(at.input_dims(index)):
        gradient = _unsqueezed(at, gradient, index, equation.terms[index], sizes)
    lost_axes = [axis for axis, letter in enumerate(equation.terms[index]) if letter not in known]
    return at.expand_to_input(gradient, lost_axes, index) if lost_axes else gradient


def _unsqueezed(at: Site, gradient: ir.Value, index: int, term: str, sizes: dict[str, int | str]) -> ir.Value:
    shape = at.input_dims(index)
    axes = [axis for axis, letter in enumerate(term) if shape[axis] == 1 and sizes[letter] != 1]
    return at.branch.Unsqueeze(gradient, axes)


def _on_the_diagonal(at: Site, gradient: ir.Value, distinct: str, term: str, sizes: dict[str, int | str]) -> ir.Value:
    """The gradient of a diagonal, `distinct` letters, as that of the whole, `term`: zero beside the diagonal."""
    op = at.branch
    letters, masks = list(term), []
    free = iter(letter for letter in string.ascii_letters if letter not in term)
    seen: set[str] = set()
    for position, letter in enumerate(term):
        if letter in seen:
            size = sizes[letter]
            if not isinstance(size, int):
                raise at.refuse(f"the equation {at.attribute('equation')!r}: a diagonal of unknown size")
            letters[position] = next(free)
            masks.append((f"{letter}{letters[position]}", op.constant(np.eye(size, dtype=np.float32))))
        seen.add(letter)
    left = ",".join([distinct, *(pair for pair, _ in masks)])
    return op.Einsum(gradient, *(mask for _, mask in masks), equation=f"{left}->{''.join(letters)}")
