"""Which tokens a head reads behind the last attention: the class token, several such, or the mean of many."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import onnx_ir as ir

from onnxplain.exporters.anatomy.arrangement import Arrangement
from onnxplain.exporters.anatomy.attention import FoundAttention
from onnxplain.exporters.anatomy.live import OVER_ALL, OVER_AXIS, OVER_REST
from onnxplain.exporters.anatomy.moves import constant_ints
from onnxplain.exporters.anatomy.products import product_letters
from onnxplain.exporters.graph.path import path_between
from onnxplain.exporters.graph.values import Dims, int_attribute, maybe_dims, reduced_axes
from onnxplain.exporters.operators.operator import Hands, Places
from onnxplain.exporters.operators.table import operator_of

Read = tuple[int, int]
_SUMS = ("ReduceMean", "ReduceSum", "GlobalAveragePool")
# With a number of its own for each token these weigh the tokens, or choose among them.
_WEIGHS = ("Mul", "Div", "Where")


@dataclass(frozen=True)
class _Held:
    """A value holds the tokens from `start` up to `stop` along `axis`; `merged`: inside the images, on that axis."""

    axis: int
    start: int
    stop: int
    merged: bool = False

    @property
    def count(self) -> int:
        return self.stop - self.start


class _UnknownError(Exception):
    """An operator mixes tokens in another way than by a mean."""


def tokens_read(attention: FoundAttention, arrangements: Mapping[ir.Value, Arrangement], head: ir.Value) -> Read | None:
    """The first token that the head reads, and the one behind the last; all of them count alike.

    None where that is not known: the head picks tokens by their values, weighs them, or reads each at its own place.
    """
    start = _first_tokens(attention, arrangements, head)
    if start is None:
        return None
    held = {start: _Held(1 if arrangements[start].form == "ntc" else 2, 0, attention.count)}
    read: set[_Held] = set()
    try:
        for node in path_between(start, [head]):
            _follow(node, held, read)
    except _UnknownError:
        return None
    if head in held or not read:
        return None
    ranges = sorted((each.start, each.stop) for each in read)
    singles = all(stop - start == 1 for start, stop in ranges)
    joined = all(before[1] == after[0] for before, after in itertools.pairwise(ranges))
    return (ranges[0][0], ranges[-1][1]) if len(ranges) == 1 or (singles and joined) else None


def _first_tokens(
    attention: FoundAttention, arrangements: Mapping[ir.Value, Arrangement], head: ir.Value
) -> ir.Value | None:
    """The first value behind the last attention that holds the tokens in their grid, the images along another axis."""
    shape = maybe_dims(head) or ()
    images = shape[0] if len(shape) > 1 else 1
    for node in path_between(attention.matrices[-1].value, [head]):
        for value in node.outputs:
            held = arrangements.get(value) in (attention.tokens, replace(attention.tokens, form="nct"))
            if held and (maybe_dims(value) or ())[:1] == (images,):
                return value
    return None


def _follow(node: ir.Node, held: dict[ir.Value, _Held], read: set[_Held]) -> None:
    """Note what the outputs hold, or what the node reads. Raises _UnknownError."""
    sources = [(number, value) for number, value in enumerate(node.inputs) if value in held and value is not None]
    if not sources:
        return
    number, source = sources[0]
    here, row = held[source], operator_of(node)
    before, after = maybe_dims(source), maybe_dims(node.outputs[0])
    if before is None or after is None:
        raise _UnknownError
    if here.merged and row.computes in ("Slice", "Gather", "Transpose", *_SUMS):
        raise _UnknownError
    if here.count == 1 and row.computes not in ("Softmax", "MatMul"):
        # A single token: whatever is done with it, it is what is read.
        read.add(here)
        return
    if row.computes in _SUMS:
        _follow_sum(node, here, held, read, len(before))
    elif row.computes in ("Slice", "Gather"):
        _follow_choice(node, here, held, read)
    elif row.computes == "Transpose":
        held[node.outputs[0]] = replace(here, axis=list(node.attributes.get_ints("perm", ())).index(here.axis))
    elif row.hands is Hands.RESHAPED or row.computes in ("Squeeze", "Unsqueeze"):
        held[node.outputs[0]] = _reshaped(before, after, here)
    elif row.computes in ("MatMul", "Gemm"):
        letters = product_letters(node, *(len(maybe_dims(value) or ()) for value in node.inputs[:2] if value))
        letter = letters[number][here.axis]
        if len(sources) > 1 or letter not in letters[2]:
            raise _UnknownError
        held[node.outputs[0]] = replace(here, axis=letters[2].index(letter))
    else:
        _follow_rest(node, [(held[value], value) for _, value in sources], held)


def _follow_sum(node: ir.Node, here: _Held, held: dict[ir.Value, _Held], read: set[_Held], rank: int) -> None:
    axes = tuple(range(2, rank)) if node.op_type == "GlobalAveragePool" else reduced_axes(node, rank)
    if axes is None:
        raise _UnknownError
    if here.axis in axes:
        read.add(here)
        return
    kept = int_attribute(node, "keepdims", 1)
    held[node.outputs[0]] = replace(here, axis=here.axis - (0 if kept else sum(axis < here.axis for axis in axes)))


def _follow_choice(node: ir.Node, here: _Held, held: dict[ir.Value, _Held], read: set[_Held]) -> None:
    """Slice and Gather by constant numbers."""
    rank = len(maybe_dims(node.inputs[0]) or ()) if node.inputs[0] is not None else 0
    if node.op_type == "Gather":
        chosen, axis = constant_ints(node, 1), int_attribute(node, "axis", 0) % rank
        indices = maybe_dims(node.inputs[1]) if node.inputs[1] is not None else None
        if axis != here.axis:
            if indices is None:
                raise _UnknownError
            moved = here.axis + (len(indices) - 1 if axis < here.axis else 0)
            held[node.outputs[0]] = replace(here, axis=moved)
            return
        if chosen is None or not chosen or indices is None:
            raise _UnknownError
        numbers = [index % here.count for index in chosen]
        if numbers != list(range(numbers[0], numbers[-1] + 1)):
            raise _UnknownError
        narrowed = replace(here, start=here.start + numbers[0], stop=here.start + numbers[-1] + 1)
        if len(numbers) == 1:
            read.add(narrowed)
        else:
            held[node.outputs[0]] = narrowed
        return
    starts, stops, axes, steps = (constant_ints(node, number) for number in (1, 2, 3, 4))
    if starts is None or stops is None or (axes is None and len(node.inputs) > 3 and node.inputs[3] is not None):
        raise _UnknownError
    cut = dict(zip([axis % rank for axis in axes or range(len(starts))], range(len(starts)), strict=True))
    if here.axis not in cut:
        held[node.outputs[0]] = here
        return
    place = cut[here.axis]
    if steps is not None and steps[place] != 1:
        raise _UnknownError
    first, last, _ = slice(starts[place], stops[place]).indices(here.count)
    narrowed = replace(here, start=here.start + first, stop=here.start + last)
    if narrowed.count < 1:
        raise _UnknownError
    held[node.outputs[0]] = narrowed


def _reshaped(before: Dims, after: Dims, here: _Held) -> _Held:
    """The tokens behind a Reshape, which may lay the images on their axis, [N, T, D] → [N · T, D], or take them off."""
    if here.merged:
        apart = len(after) == len(before) + 1 and after[1] == here.count and after[2:] == before[1:]
        if not apart or _times(after[0], here.count) != before[0]:
            raise _UnknownError
        return replace(here, axis=1, merged=False)
    if here.axis == 1 and after[:1] == (_times(before[0], here.count),) and after[1:] == before[2:]:
        return replace(here, axis=0, merged=before[0] != 1)
    return replace(here, axis=_axis_behind(before, after, here.axis))


def _times(size: int | str, count: int) -> int | str:
    return size * count if isinstance(size, int) else f"{count}*{size}"


def _axis_behind(before: Sequence[int | str], after: Sequence[int | str], axis: int) -> int:
    """The axis of the same size with the same sizes in front of it, but for those of one entry."""
    in_front = [size for size in before[:axis] if size != 1]
    for place, size in enumerate(after):
        if size == before[axis] and [each for each in after[:place] if each != 1] == in_front:
            return place
    raise _UnknownError


def _differs_by_token(value: ir.Value | None, held: Mapping[ir.Value, _Held], axis: int) -> bool:
    """Whether a value that holds no tokens has several entries along their axis, counted from the last."""
    shape = None if value is None or value in held else maybe_dims(value)
    return shape is not None and len(shape) >= -axis and shape[axis] != 1


def _follow_rest(node: ir.Node, sources: Sequence[tuple[_Held, ir.Value]], held: dict[ir.Value, _Held]) -> None:
    """Operators that work on each token alone."""
    row = operator_of(node)
    after = len(maybe_dims(node.outputs[0]) or ())
    rank = len(maybe_dims(sources[0][1]) or ())
    here = sources[0][0]
    aligned = {replace(each, axis=each.axis + after - len(maybe_dims(value) or ())) for each, value in sources}
    over_axis, over_rest = OVER_AXIS.get(row.computes), OVER_REST.get(row.computes)
    mixes = (
        row.computes in OVER_ALL
        or (over_axis is not None and int_attribute(node, "axis", over_axis) % rank == here.axis)
        or (over_rest is not None and here.axis >= int_attribute(node, "axis", over_rest) % rank)
    )
    joins = row.computes == "Concat" and int_attribute(node, "axis", 0) % rank != here.axis
    if len(aligned) > 1 or mixes or not (row.places is Places.KEPT or joins):
        raise _UnknownError
    (found,) = aligned
    if row.computes in _WEIGHS and any(_differs_by_token(value, held, found.axis - after) for value in node.inputs):
        raise _UnknownError
    held.update(dict.fromkeys(node.outputs, found))
