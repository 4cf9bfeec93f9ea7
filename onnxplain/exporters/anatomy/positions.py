"""Where every entry of a tensor lies in the image, how that is lost, and the frame of a map read from it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from enum import Enum

import numpy as np

from onnxplain.contract import AXES, Layout, MapFrame
from onnxplain.exporters.anatomy.arrangement import Arrangement
from onnxplain.exporters.anatomy.places import ROUNDING, AxisPlaces


class EndReason(Enum):
    """Why maps behind an operator cannot be laid over the image; the words take the fields of `FrameEnd`."""

    UNKNOWN = "{node} is not known to keep positions"
    PICKED = "{node} picks or sorts positions by their values"
    COMPUTED = "{node} moves positions by numbers that are not constant"
    MOVED = "{node} changes the order of positions"
    UNEVEN = "{node} works on positions that are not evenly spaced"
    DISAGREE = "{node} joins maps that lie in different places"
    MIXED = "{node} mixes all positions"


@dataclass(frozen=True)
class FrameEnd:
    """The operator behind which no map has a frame, and why. `node`: how messages name it."""

    reason: EndReason
    node: str

    def __str__(self) -> str:
        return self.reason.value.format(node=self.node)


@dataclass(frozen=True, eq=False)
class Positions:
    """A tensor of `shape` (an open batch counts as 1), and the places of its entries along both axes of the image.

    `end`: why no frame can be read, where an operator moved or mixed the positions; another may put them in order
    again.
    """

    shape: tuple[int, ...]
    rows: AxisPlaces
    columns: AxisPlaces
    end: FrameEnd | None = None

    @property
    def both(self) -> tuple[AxisPlaces, AxisPlaces]:
        """The places along the image's rows and columns."""
        return self.rows, self.columns

    @property
    def is_nowhere(self) -> bool:
        """Whether no entry has a place along either axis."""
        return self.rows.is_nowhere and self.columns.is_nowhere

    def varies_along(self, axis: int) -> bool:
        """Whether entries along this axis of the tensor differ in their place."""
        return any(places.varies_along(axis) for places in self.both)

    def map_places(self, shape: Sequence[int], change: Callable[[AxisPlaces], AxisPlaces]) -> Positions:
        """Both axes changed alike; the tensor has this shape afterwards."""
        return replace(self, shape=tuple(shape), rows=change(self.rows), columns=change(self.columns))


def of_image(layout: Layout, shape: tuple[int, ...]) -> Positions:
    """The positions of the image itself, a tensor of this shape."""
    _, *axes = AXES[layout]

    def centres(axis: int) -> AxisPlaces:
        side, line = shape[axis], [1] * len(shape)
        line[axis] = side
        return AxisPlaces(np.arange(0.5, side, dtype=np.float64).reshape(line), 0.5, 1.0, (0.0, float(side)))

    rows, columns = map(centres, axes)
    return Positions(shape, rows, columns)


def read_frame(found: Positions, arrangement: Arrangement, input_size_hw: tuple[int, int]) -> MapFrame | None:
    """The frame of the maps that the tensor holds, None where its positions are not those of a map.

    A frame that is the even spread up to rounding is exactly `MapFrame.over`. A map whose windows are as large as what
    it sees is spread evenly over that, where this moves no cell by more than half a cell: the borders cut all of its
    windows, so their middles say little (docs/adr/0004).
    """
    rows, columns = (_as_map(places, arrangement) for places in found.both)
    if rows is None or columns is None:
        return None
    lines = []
    for axis, (places, other) in enumerate(((rows, 1), (columns, 0))):
        if places.at.shape[other] > 1 and np.ptp(places.at, axis=other).max() > ROUNDING:
            return None
        cells = arrangement.size_hw[axis]
        spread = _cells(places, axis, cells)
        spread = None if spread is None else _or_even(spread, places, cells)
        if spread is None:
            return None
        lines.append(spread)
    (row_offset, row_scale), (column_offset, column_scale) = lines
    frame = MapFrame((row_scale, column_scale), (row_offset, column_offset), (rows.seen, columns.seen))
    even = MapFrame.over(input_size_hw, arrangement.size_hw)
    return even if frame.is_close_to(even, arrangement.size_hw) else frame


def _as_map(places: AxisPlaces, arrangement: Arrangement) -> AxisPlaces | None:
    """The places as those of a map, `at` of (h, w) with ones where they do not vary; None where they are no map's."""
    order = {"nchw": (0, 1, 2, 3), "nhwc": (0, 3, 1, 2), "nct": (0, 1, 2), "ntc": (0, 2, 1)}[arrangement.form]
    ordered: AxisPlaces | None = places.transpose(order)
    for axis in (1, 0):
        ordered = None if ordered is None else ordered.merge(axis)
    if ordered is None:
        return None
    at = ordered.at[0, 0]
    if arrangement.is_token_sequence and at.size > 1:
        at = at[arrangement.tokens_before : arrangement.tokens_before + arrangement.positions]
        if np.isnan(at).any():
            return None
        at = at.reshape(arrangement.size_hw)
    elif arrangement.is_token_sequence:
        at = at.reshape(1, 1)
    return replace(ordered, at=at)


def _cells(places: AxisPlaces, axis: int, cells: int) -> tuple[float, float] | None:
    """Offset and scale of the cells along one axis of a map; one cell alone stands for all that it sees."""
    start, stop = places.seen
    if places.is_nowhere:
        return None
    if cells == 1:
        return start, stop - start
    if not places.varies_along(axis) or not places.is_even_along(axis):
        return None
    line = places.line_along(axis)
    return (line.start - line.step / 2, line.step) if line.step > 0 else None


def _or_even(line: tuple[float, float], places: AxisPlaces, cells: int) -> tuple[float, float]:
    """Offset and scale, those of the even spread over what is seen where the borders cut every window."""
    (offset, scale), (start, stop) = line, places.seen
    even = (stop - start) / cells
    first, last = (abs(start + even * (i + 0.5) - offset - scale * (i + 0.5)) for i in (0, cells - 1))
    is_cut = 2 * places.reach >= stop - start
    return (start, even) if is_cut and max(first, last) <= scale / 2 + ROUNDING else line
