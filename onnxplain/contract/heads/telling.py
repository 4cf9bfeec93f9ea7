"""Telling what the outputs of a graph mean, from how the graph ends. Never by running it and looking at values.

The order is that of DESIGN: what the user states, what another tool says, the end of the graph, and an assumption.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal

from onnxplain.contract.heads.found import (
    FoundHead,
    FoundHeads,
    FoundOutput,
    OutputFault,
    ReadKind,
    StatedHead,
    UnusedOutput,
)
from onnxplain.contract.heads.graph_end import EndValue, GraphEnd
from onnxplain.contract.heads.spec import BOX_COORDINATES, Evidence, HeadKind, ScoreForm
from onnxplain.contract.heads.together import judge_together
from onnxplain.contract.heads.trail import Trail, axis_of, follow, hidden_step
from onnxplain.contract.image_input import Dim

_NUMBERS = ("float32", "float16", "float64", "bfloat16", "uint8", "int8", "unknown")
_KIND_OF: Mapping[str, HeadKind] = {"softmax": "classes", "sigmoid": "labels", "l2": "embedding"}


@dataclass(frozen=True)
class _Shape:
    """What a shape allows: `size` numbers per image in one row, or a mask of `size` classes."""

    size: int
    map_size_hw: tuple[int, int] | None = None
    channel_axis: int = 0


def tell_heads(end: GraphEnd, stated: Sequence[StatedHead] = (), read: ReadKind | None = None) -> FoundHeads:
    """The heads of a graph in the order of its outputs; values that the user names come first.

    `stated` says of outputs, or of inner values, that they are heads. `read`: what another tool says; it is used where
    its kind fits the shape.
    """
    named = {head.name: head.kind for head in sorted(stated, key=lambda head: head.kind is not None)}
    known = {output.name for output in end.outputs}
    inner = [name for name in dict.fromkeys(head.name for head in stated) if name not in known]
    heads: list[FoundHead] = []
    unused: list[UnusedOutput] = []
    for name in inner:
        if name not in end.producers:
            unused.append(UnusedOutput(EndValue(name), OutputFault.UNKNOWN))
    tips = [*(end.value(name) for name in inner if name in end.producers), *end.outputs]
    trails = {tip.name: follow(end, tip) for tip in tips}
    for tip in tips:
        told = _tell(end, trails[tip.name], named.get(tip.name), read)
        if isinstance(told, UnusedOutput):
            unused.append(told)
        else:
            heads.append(told)
    return judge_together(end, heads, unused, {name: trail.bottom for name, trail in trails.items()}, set(named))


def _tell(
    end: GraphEnd, trail: Trail, asked: HeadKind | Literal["none"] | None, read: ReadKind | None
) -> FoundHead | UnusedOutput:
    """The head that an output carries. `asked`: its kind as stated."""
    tip = trail.tip
    if asked == "none":
        return UnusedOutput(tip, OutputFault.LEFT_OUT)
    if trail.picked is None and tip.dtype not in _NUMBERS:
        return UnusedOutput(tip, OutputFault.TYPE)
    if asked in ("values", "box"):
        trail = replace(trail, source=tip.name, activation=None, reshaped=False)
    elif _is_row(end, tip) and trail.activation is None and trail.picked is None and tip.dtype.startswith("float"):
        trail = replace(trail, source=tip.name, reshaped=False)
    found = _sizes(end, trail)
    if found is None:
        return _head(end, trail, None, asked, read) if trail.picked is not None else UnusedOutput(tip, OutputFault.OPEN)
    lead, sizes = found
    axis = _channel_axis(trail, lead + len(sizes))
    shape = _shape(sizes, None if axis is None else axis - lead)
    if not isinstance(shape, OutputFault) and not _keeps_map(end, trail, shape):
        shape = OutputFault.SHAPE
    if isinstance(shape, OutputFault):
        return UnusedOutput(tip, OutputFault.STATED if asked else shape, asked or "")
    return _head(end, trail, replace(shape, channel_axis=shape.channel_axis + lead), asked, read)


def _head(
    end: GraphEnd, trail: Trail, shape: _Shape | None, asked: HeadKind | None, read: ReadKind | None
) -> FoundHead | UnusedOutput:
    kind, evidence = _kind(trail, shape, read) if asked is None else (asked, Evidence("stated"))
    if kind is None:
        return UnusedOutput(trail.tip, OutputFault.MAP)
    if not _fits(kind, shape):
        return UnusedOutput(trail.tip, OutputFault.STATED if asked else OutputFault.SHAPE, kind)
    guessed = evidence.kind == "assumed" or (asked is None and kind == "values" and evidence.kind == "graph")
    if guessed and (hidden := hidden_step(end, trail.source)) is not None:
        return UnusedOutput(trail.tip, OutputFault.HIDDEN, hidden)
    output = FoundOutput(trail.tip.name, _holds(trail, kind), _form(trail, shape))
    return FoundHead(
        name=trail.tip.name,
        kind=kind,
        size=None if shape is None else shape.size,
        source=trail.source,
        evidence=evidence,
        outputs=(output,) if any(own.name == trail.tip.name for own in end.outputs) else (),
        map_size_hw=None if shape is None else shape.map_size_hw,
        channel_axis=1 if shape is None else shape.channel_axis,
        activation=trail.activation,
        sigmoid=kind == "mask" and (trail.activation == "sigmoid" or (shape is not None and shape.size == 1)),
    )


def _form(trail: Trail, shape: _Shape | None) -> ScoreForm:
    """How the output stores what the source holds. A mask's classes are last where the output says so."""
    if shape is None or shape.map_size_hw is None:
        return ScoreForm(trail.factor, trail.log)
    last = trail.permuted[-1] if trail.permuted else None
    return ScoreForm(trail.factor, trail.log, shape.channel_axis > 1 if last is None else last == shape.channel_axis)


def _holds(trail: Trail, kind: HeadKind) -> Literal["source", "scores", "picked"]:
    if trail.picked is not None or (trail.log and trail.factor != 1):
        # Scores of the second are powers of probabilities: what they come from says more.
        return "picked"
    return "scores" if trail.activation in ("softmax", "sigmoid") and kind not in ("values", "box") else "source"


def _kind(trail: Trail, shape: _Shape | None, read: ReadKind | None) -> tuple[HeadKind | None, Evidence]:
    """The kind, and how it was told; None for a map without an activation."""
    if read is not None and _fits(read.kind, shape) and shape is not None:
        return read.kind, Evidence("read", read.source)
    is_map = shape is not None and shape.map_size_hw is not None
    if trail.activation is not None:
        kind = "mask" if is_map else _KIND_OF[trail.activation]
        return kind, Evidence("graph", _WORDS[trail.activation])
    if trail.picked is not None:
        return ("mask" if is_map else "classes"), Evidence("graph", trail.picked.operator)
    if is_map:
        return None, Evidence("assumed")
    if shape is not None and shape.size == 1:
        return "values", Evidence("graph", "one number")
    return "classes", Evidence("assumed")


_WORDS = {"softmax": "Softmax", "sigmoid": "Sigmoid", "l2": "L2 normalisation"}


def _fits(kind: HeadKind, shape: _Shape | None) -> bool:
    """Whether a shape can be an answer of that kind."""
    if shape is None:
        return kind in ("classes", "labels")
    if (kind == "mask") != (shape.map_size_hw is not None):
        return False
    if kind == "box":
        return shape.size == BOX_COORDINATES
    return shape.size >= (2 if kind in ("classes", "embedding") else 1)


def _sizes(end: GraphEnd, trail: Trail) -> tuple[int, tuple[int, ...]] | None:
    """The number of leading batch axes of the source, 0 or 1, and its sizes per image; None where one is open."""
    dims = end.value(trail.source).dims
    if dims is None and not trail.reshaped and trail.permuted is None:
        dims = trail.tip.dims
    if dims is None:
        return None
    lead = 0 if _has_no_batch(end, dims) else 1
    if lead and len(dims) == 1 and isinstance(dims[0], int) and dims[0] not in (1, end.batch):
        return None  # One row for all images together.
    sizes = tuple(size for size in dims[lead:] if isinstance(size, int))
    return (lead, sizes) if len(sizes) == len(dims) - lead else None


def _is_row(end: GraphEnd, tip: EndValue) -> bool:
    """Whether an output holds one row of numbers per image."""
    sizes = end.per_image(tip)
    return sizes is not None and sum(size != 1 for size in sizes) <= 1


def _keeps_map(end: GraphEnd, trail: Trail, shape: _Shape) -> bool:
    """Whether an output is still the map that its source is, or the best class of each position of it."""
    sizes = end.per_image(trail.tip)
    if shape.map_size_hw is None or sizes is None:
        return True
    expected = shape.map_size_hw if trail.picked is not None else (shape.size, *shape.map_size_hw)
    longer = [size for size in expected if size != 1]
    found = [size for size in sizes if size != 1]
    return len(found) == len(longer) and all(size in longer for size in found if isinstance(size, int))


def _has_no_batch(end: GraphEnd, dims: tuple[Dim, ...]) -> bool:
    """Whether a value has no batch axis: the graph takes one image without it, or drops a batch of 1."""
    if end.unbatched:
        return len(dims) != 4
    return len(dims) == 1 and end.batch == 1 and dims[0] != 1


def _channel_axis(trail: Trail, rank: int) -> int | None:
    """The axis of the classes as the graph states it; None without a Softmax, an ArgMax or a TopK."""
    if trail.axis is not None:
        return trail.axis % rank
    return None if trail.picked is None or trail.activation is not None else axis_of(trail.picked) % rank


def _shape(sizes: tuple[int, ...], axis: int | None) -> _Shape | OutputFault:
    """What the sizes of one image allow. `axis`: where the classes are among them, as far as the graph states it."""
    long = [position for position, size in enumerate(sizes) if size != 1]
    if len(long) <= 1:
        elsewhere = axis is not None and bool(long) and axis != long[0]
        return OutputFault.SHAPE if elsewhere else _Shape(math.prod(sizes))
    if len(sizes) == 3:
        channel = axis if axis is not None else (2 if sizes[2] == 1 else 0)
        if channel in (0, 2):
            return _Shape(sizes[channel], sizes[1:] if channel == 0 else sizes[:2], channel)
    return OutputFault.SHAPE
