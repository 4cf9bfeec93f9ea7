"""Whether one run can differentiate several targets of one image.

The cotangents then have one row per target, and broadcast over the one row of the image's forward values. This is right
where a value holds the images along one axis that holds nothing else. Where the batch is merged with windows or
attention heads, [3 · N, 65, 16], the branch repeats the image's part of the forward value before it reads it.
"""

from __future__ import annotations

import functools
import math
import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

import onnx_ir as ir

from onnxplain.exporters.file.batch_axis import (
    BatchPlace,
    Sizes,
    batch_places,
    follow_batch,
    indexed_axes,
    static_sizes,
)
from onnxplain.exporters.gradient.differentiate import values_that_vary
from onnxplain.exporters.graph.branch import Branch
from onnxplain.exporters.graph.path import path_between, sources_of
from onnxplain.exporters.graph.values import UNKNOWN, dims, maybe_dims
from onnxplain.exporters.operators.table import operator_of

_COUNT = 1_000_003
"""A prime that is no size of a network: stands for the batch, so that its multiples are told from other sizes."""


@dataclass(frozen=True)
class RepeatedParts:
    """The forward values that a branch repeats per target, with the place of their images; `batch`: the symbol."""

    batch: str
    places: Mapping[ir.Value, BatchPlace]

    def read_in(self, branch: Branch, cotangent: ir.Value) -> None:
        """Let a branch read these values with as many images as a cotangent has rows."""
        rows = branch.Shape(cotangent, start=0, end=1) if self.places else cotangent
        for value in self.places:
            branch.on_reading(value, lambda value: self._repeated(branch, value, rows))

    def _repeated(self, branch: Branch, value: ir.Value, rows: ir.Value) -> ir.Value:
        place, sizes = self.places[value], _sizes_of(value, self.batch)
        assert sizes is not None
        before, after, inside = sizes[: place.axis], sizes[place.axis + 1 :], _inside(sizes, place)
        apart = branch.Reshape(value, [*before, place.outside, -1, inside, *after])
        ones = [1] * (len(before) + 1), [1] * (len(after) + 1)
        spread = branch.Expand(apart, branch.Concat(ones[0], rows, ones[1], axis=0))
        return branch.Reshape(spread, [*before, -1, *after])


def plan_many_targets(graph: ir.Graph, layer: ir.Value, ends: Sequence[ir.Value]) -> RepeatedParts | None:
    """What a walk from `ends` back to `layer` has to repeat to have more rows than the image; None: it may not have.

    Not where the batch is counted by indices (GatherND over images), cannot be followed, or is fixed above 1. A fixed
    batch of 1 has to be the first axis. Decided without a run: the check before a file is written compares the
    gradients (checks/many_targets.py).
    """
    path = path_between(layer, ends)
    varying = values_that_vary(path, {layer})
    passed = [layer, *(value for node in path for value in node.outputs if value in varying and _is_used(value, ends))]
    batch = dims(layer)[0]
    if isinstance(batch, str):
        # Matrices of attention may hold the images together with the heads: 3*N.
        opened = {size for source in graph.inputs for size in (maybe_dims(source) or ())[:1] if isinstance(size, str)}
        named = [name for name in opened if re.fullmatch(rf"\d+ ?\* ?{re.escape(name)}", batch)]
        return None if batch == UNKNOWN else _plan(graph, path, passed, named[0] if named else batch)
    if batch != 1 or any(operator_of(node).counts_images for node in path):
        return None
    places = follow_batch(path, {layer: BatchPlace(0)}, batch)
    first = all((maybe_dims(value) or ())[:1] == (1,) and places.get(value) == BatchPlace(0) for value in passed)
    return RepeatedParts("", {}) if first else None


def images_come_first(graph: ir.Graph, value: ir.Value) -> bool:
    """Whether the first axis of a value holds the images, and whatever else it holds varies faster than they do."""
    batches = {size for source in graph.inputs for size in (maybe_dims(source) or ())[:1] if source.shape is not None}
    for batch in batches:
        if batch == 1:
            return True
        if isinstance(batch, int):
            return batch_places(graph, batch).get(value) == BatchPlace(0)
        places = follow_batch(graph, _starts(graph, batch), _COUNT, functools.partial(_sizes_of, batch=batch))
        if places.get(value) == BatchPlace(0):
            return True
    return False


def _starts(graph: ir.Graph, batch: str) -> dict[ir.Value, BatchPlace]:
    return {value: BatchPlace(0) for value in graph.inputs if (maybe_dims(value) or ())[:1] == (batch,)}


def _plan(graph: ir.Graph, path: Sequence[ir.Node], passed: Sequence[ir.Value], batch: str) -> RepeatedParts | None:
    """As `plan_many_targets`, for an open batch of that name."""
    counting = [node for node in path if operator_of(node).counts_images]
    if all(_is_one_axis(value, batch) for value in passed) and not counting:
        return RepeatedParts(batch, {})

    def sizes(value: ir.Value) -> Sizes | None:
        return _sizes_of(value, batch)

    starts = _starts(graph, batch) | {passed[0]: BatchPlace(0)}
    places = follow_batch(graph, starts, _COUNT, sizes)
    if any(value not in places or not _fits_whole(sizes(value), places[value]) for value in passed):
        return None
    for node in counting:
        source = node.inputs[0]
        indexed = indexed_axes(node)
        if indexed is None or source not in places or places[source].axis < indexed:
            return None
    near = {value for node in path for value in (*sources_of(node), *node.outputs) if value in places}
    by_index = {value for node in counting for value in (*sources_of(node), *node.outputs)}
    repeated = [value for value in near if value in by_index or not _is_one_axis(value, batch)]
    order = {value: index for index, value in enumerate(places)}
    return RepeatedParts(batch, {value: places[value] for value in sorted(repeated, key=order.__getitem__)})


def _sizes_of(value: ir.Value, batch: str) -> Sizes | None:
    """The shape with `_COUNT` for the batch; None where something else is open, or the batch twice."""
    if not batch:
        return static_sizes(value)
    shape = maybe_dims(value)
    if shape is None or sum(isinstance(size, str) for size in shape) > 1:
        return None
    found = []
    symbol = re.escape(batch)
    for size in shape:
        if isinstance(size, str):
            match = re.fullmatch(rf"(?:(\d+) ?\* ?)?{symbol}(?: ?\* ?(\d+))?", size)
            if match is None:
                return None
            size = _COUNT * math.prod(int(factor) for factor in match.groups() if factor)
        found.append(size)
    return tuple(found)


def _inside(sizes: Sizes, place: BatchPlace) -> int:
    """How much varies faster than the images along their axis."""
    return sizes[place.axis] // (_COUNT * place.outside)


def _fits_whole(sizes: Sizes | None, place: BatchPlace) -> bool:
    return sizes is not None and sizes[place.axis] == _COUNT * place.outside * _inside(sizes, place)


def _is_used(value: ir.Value, ends: Collection[ir.Value]) -> bool:
    return bool(value.consumers()) or value in ends


def _is_one_axis(value: ir.Value, batch: str) -> bool:
    """Whether one axis of the value is the batch, and all others are numbers."""
    return [size for size in maybe_dims(value) or () if not isinstance(size, int)] == [batch]
