"""Where the entries of a tensor lie in the image along one of its axes: one number per entry, moved as the entries are.

`AxisPlaces` holds the numbers of one axis of the image, rows or columns. An operator that moves entries moves the
numbers in the same way; one that slides a window computes new ones.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[np.float64]
Span = tuple[float, float]

# Of a pixel: far above the rounding of float64, far below what a heatmap shows.
ROUNDING = 1e-4


@dataclass(frozen=True, eq=False)
class Line:
    """Numbers that are evenly spaced: ``start + step · i``. Both are NaN where no entry has a place."""

    start: float
    step: float


@dataclass(frozen=True)
class Grid:
    """`count` new entries of an axis, number j where ``start + step · j`` would be among the old ones.

    `spread`: how many old entries to each side a new one reads. `crops`: whether old ones are left out on purpose.
    """

    start: float
    step: float
    count: int
    spread: float = 0.0
    crops: bool = False


@dataclass(frozen=True, eq=False)
class AxisPlaces:
    """The centres of a tensor's entries along one axis of the image, in pixels of the image; pixel i covers [i, i + 1).

    `at`: float64, an axis per axis of the tensor, of size 1 where all entries share their place. NaN: no place (a
    class token, padding, a mean over all positions). `reach`: how far to each side of its centre an entry can see.
    `grain`: the coarsest step between cells that the entries passed through. `seen`: the part of the axis that was not
    cropped away.
    """

    at: Array
    reach: float
    grain: float
    seen: Span

    @property
    def is_nowhere(self) -> bool:
        """Whether no entry has a place."""
        return bool(np.isnan(self.at).all())

    def varies_along(self, axis: int) -> bool:
        """Whether entries along this axis of the tensor differ in their place."""
        return bool(self.at.shape[axis] > 1)

    def transpose(self, perm: Sequence[int]) -> AxisPlaces:
        """The tensor's axes in another order."""
        return replace(self, at=self.at.transpose(perm))

    def reshape(self, before: Sequence[int], after: Sequence[int]) -> AxisPlaces:
        """The tensor in another shape of as many entries. Raises ValueError where it has more or fewer."""
        full, shape = list(self.at.shape), []
        for old, new in _groups(before, after):
            if any(self.at.shape[axis] > 1 for axis in old):
                for axis in old:
                    full[axis] = before[axis]
                shape += [after[axis] for axis in new]
            else:
                shape += [1] * len(new)
        return replace(self, at=_thin(np.broadcast_to(self.at, full).reshape(shape)))

    def take(self, axis: int, indices: npt.NDArray[np.int64]) -> AxisPlaces:
        """Some of the entries along an axis; where these leave out a whole cell or more, `seen` becomes smaller."""
        if not self.varies_along(axis):
            return self
        at = self.at.take(indices, axis)
        steps = set(np.diff(indices).tolist())
        step = abs(steps.pop()) if len(steps) == 1 else 1
        grain = self.grain
        if step > 1:
            grain = max(grain, step * abs(self.line_along(axis).step) if self.is_even_along(axis) else grain)
        return replace(self, at=at, grain=grain, seen=self._seen_by(at, grain))

    def pad(self, axis: int, before: int, after: int, size: int) -> AxisPlaces:
        """Entries without a place around those of an axis of `size`; fewer entries where a number is negative."""
        if not self.varies_along(axis):
            return self
        kept = self.take(axis, np.arange(max(-before, 0), size - max(-after, 0)))
        widths = [(0, 0)] * self.at.ndim
        widths[axis] = (max(before, 0), max(after, 0))
        return replace(kept, at=np.pad(kept.at, widths, constant_values=np.nan))

    def regrid(self, axis: int, grid: Grid) -> AxisPlaces:
        """New entries along an axis, whose places must be even.

        Windows leave `seen` as it is, even where they stop short of the end; a crop makes it smaller.
        """
        if not self.varies_along(axis):
            return self
        lines = np.moveaxis(self.at, axis, -1)
        flat = [_line(row) for row in lines.reshape(-1, lines.shape[-1])]
        steps = np.array([np.nan if line is None else line.step for line in flat])
        starts = np.array([np.nan if line is None else line.start for line in flat])
        numbers = starts[:, None] + steps[:, None] * (grid.start + grid.step * np.arange(grid.count))
        at = np.moveaxis(numbers.reshape(*lines.shape[:-1], grid.count), -1, axis)
        width = 0.0 if np.isnan(steps).all() else float(np.nanmax(np.abs(steps)))
        reach, grain = self.reach + grid.spread * width, max(self.grain, width, width * grid.step)
        seen = replace(self, reach=reach)._seen_by(at, grain) if grid.crops else self.seen
        return AxisPlaces(at, reach, grain, seen)

    def is_even_along(self, axis: int) -> bool:
        """Whether the places ascend evenly along an axis, or do not vary along it."""
        if not self.varies_along(axis):
            return True
        lines = np.moveaxis(self.at, axis, -1)
        return all(_line(row) is not None for row in lines.reshape(-1, lines.shape[-1]))

    def line_along(self, axis: int) -> Line:
        """The line of an axis that is even, the first where several differ in their start."""
        line = _line(np.moveaxis(self.at, axis, -1).reshape(-1, self.at.shape[axis])[0])
        assert line is not None
        return line

    def merge(self, axis: int) -> AxisPlaces | None:
        """Entries along an axis seen as one, in the middle of all; None where they are further than a cell from it."""
        if not self.varies_along(axis):
            return self
        lacking = np.isnan(self.at).all(axis, keepdims=True)
        known = np.where(lacking, 0.0, self.at)
        least, most = np.nanmin(known, axis, keepdims=True), np.nanmax(known, axis, keepdims=True)
        spread = float((most - least).max()) / 2
        if spread > self.grain + ROUNDING:
            return None
        return replace(self, at=np.where(lacking, np.nan, (least + most) / 2), reach=self.reach + spread)

    def reduce(self, axes: Sequence[int], keepdims: bool) -> AxisPlaces:
        """Entries summed along some axes lie in the middle of what is summed; nowhere if that is the same for all."""
        at, spread, axes = self.at, 0.0, tuple(axes)
        if any(map(self.varies_along, axes)):
            least, most = np.fmin.reduce(at, axes, keepdims=True), np.fmax.reduce(at, axes, keepdims=True)
            spread = float(np.nanmax(most - least, initial=0.0))
            at = (least + most) / 2 if least.size > 1 else np.full_like(least, np.nan)
        at = at if keepdims else at.squeeze(axes)
        return replace(self, at=at, reach=self.reach + spread / 2, grain=max(self.grain, spread))

    def nowhere(self, rank: int) -> AxisPlaces:
        """A tensor of this rank whose entries have no place."""
        return replace(self, at=np.full((1,) * rank, np.nan))

    def _seen_by(self, at: Array, cell: float) -> Span:
        """What is left of `seen` where these places are left of those that there were."""
        if np.isnan(at).all() or self.is_nowhere:
            return self.seen
        (first, last), (least, most) = (np.nanmin(self.at), np.nanmax(self.at)), (np.nanmin(at), np.nanmax(at))
        start, stop = self.seen
        if least - first > cell - ROUNDING:
            start = max(start, float(least) - self.reach)
        if last - most > cell - ROUNDING:
            stop = min(stop, float(most) + self.reach)
        return start, stop


def meet(operands: Sequence[AxisPlaces]) -> AxisPlaces | None:
    """The places of an operator's result whose operands lie over each other; None where they do not agree.

    An entry without a place takes that of the others. Else the operands of the finest grain decide, by their middle;
    every other must lie within a cell of it, of the coarser of both.
    """
    first, *others = operands
    seen = min(each.seen[0] for each in operands), max(each.seen[1] for each in operands)
    reach = max(each.reach for each in operands)
    if all(other.at is first.at or np.array_equal(first.at, other.at, equal_nan=True) for other in others):
        return replace(first, seen=seen, grain=min(each.grain for each in operands), reach=reach)
    placed = sorted((each for each in operands if not each.is_nowhere), key=lambda each: each.grain)
    if len(placed) < 2:
        return replace(placed[0] if placed else first.nowhere(first.at.ndim), seen=seen)
    shape = np.broadcast_shapes(*(each.at.shape for each in placed))
    least, most = np.full(shape, np.nan), np.full(shape, np.nan)
    finest = placed[0].grain
    for each in placed:
        lacking = np.isnan(least)
        if each.grain > finest:
            # A coarser one fills gaps only.
            least, most = (np.where(lacking, each.at, known) for known in (least, most))
        else:
            least, most = np.fmin(least, each.at), np.fmax(most, each.at)
    middle = (least + most) / 2
    for each in placed:
        if np.nanmax(np.abs(each.at - middle), initial=0.0) > each.grain + ROUNDING:
            return None
    reach += float(np.nanmax(most - least, initial=0.0)) / 2
    return AxisPlaces(middle, reach, finest, seen)


def join(operands: Sequence[AxisPlaces], sizes: Sequence[int], axis: int) -> AxisPlaces:
    """The places of tensors laid side by side along an axis, on which they have these sizes."""
    seen = min(each.seen[0] for each in operands), max(each.seen[1] for each in operands)
    placed = [each for each in operands if not each.is_nowhere]
    if not placed:
        return operands[0]
    if not any(each.varies_along(axis) for each in placed):
        alike = meet(operands)
        if alike is not None:
            return alike
    others = np.broadcast_shapes(*(np.delete(each.at.shape, axis) for each in operands))
    shape = [*others[:axis], 1, *others[axis:]]
    parts = []
    for each, size in zip(operands, sizes, strict=True):
        shape[axis] = size
        parts.append(np.broadcast_to(each.at, shape))
    return AxisPlaces(
        np.concatenate(parts, axis),
        max(each.reach for each in operands),
        max(each.grain for each in operands),
        seen,
    )


def _thin(at: Array) -> Array:
    """One entry only along axes on which all are the same."""
    for axis, size in enumerate(at.shape):
        if size > 1:
            first = at.take([0], axis)
            if np.array_equal(np.broadcast_to(first, at.shape), at, equal_nan=True):
                at = first
    return at


def _line(row: Array) -> Line | None:
    """The line through the places along one axis, None where they do not ascend evenly.

    Cells that were repeated (0, 0, 1, 1, …) count as even: each is within half a cell of its line.
    """
    index = np.flatnonzero(~np.isnan(row))
    if not len(index):
        return Line(np.nan, np.nan)
    known = row[index]
    if len(index) == 1:
        return Line(np.nan, np.nan)
    step = (known[-1] - known[0]) / (index[-1] - index[0])
    if step > 0 and np.abs(known - known[0] - step * (index - index[0])).max() <= ROUNDING:
        return Line(float(known[0] - step * index[0]), float(step))
    rises = np.diff(known)
    if step <= 0 or rises.min() < -ROUNDING:
        return None
    centred = index - index.mean()
    step = float(centred @ known / (centred @ centred))
    start = float(known.mean() - step * index.mean())
    return Line(start, step) if np.abs(known - start - step * index).max() <= rises.max() / 2 + ROUNDING else None


def _groups(before: Sequence[int], after: Sequence[int]) -> Iterator[tuple[range, range]]:
    """The smallest runs of axes of both shapes that hold the same entries. Raises ValueError where there are none."""
    i = j = 0
    while i < len(before) or j < len(after):
        from_i, from_j, old, new = i, j, 1, 1
        if i < len(before):
            old, i = before[i], i + 1
        if j < len(after):
            new, j = after[j], j + 1
        while old != new:
            if old < new and i < len(before):
                old, i = old * before[i], i + 1
            elif new < old and j < len(after):
                new, j = new * after[j], j + 1
            else:
                raise ValueError(f"found shapes {tuple(before)} and {tuple(after)}, expected as many entries")
        yield range(from_i, i), range(from_j, j)
