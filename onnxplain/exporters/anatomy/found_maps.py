"""Maps that show by where their entries lie how a tensor holds them, whatever operators brought them there."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import onnx_ir as ir

from onnxplain.exporters.anatomy.arrangement import MAP_RANK, TOKEN_RANK, Arrangement
from onnxplain.exporters.anatomy.moves import Followed
from onnxplain.exporters.anatomy.places import ROUNDING
from onnxplain.exporters.anatomy.positions import Positions
from onnxplain.exporters.graph.values import maybe_dims


def arrange_by_positions(
    places: Mapping[ir.Value, Followed], known: Mapping[ir.Value, Arrangement]
) -> dict[ir.Value, Arrangement]:
    """The arrangement of values that have none among those known: tokens behind a Reshape to rows and back."""
    found = {}
    for value, place in places.items():
        if value in known or not isinstance(place, Positions) or place.is_nowhere:
            continue
        shape = maybe_dims(value)
        if shape is not None and shape[1:] == place.shape[1:] and len(shape) == len(place.shape):
            arrangement = arrangement_of(place)
            if arrangement is not None:
                found[value] = arrangement
    return found


def arrangement_of(place: Positions) -> Arrangement | None:
    """How a tensor with these positions holds maps; None where they are no map's."""
    rows, columns = ([axis for axis in range(len(place.shape)) if places.varies_along(axis)] for places in place.both)
    if len(place.shape) == MAP_RANK:
        if (rows, columns) == ([2], [3]):
            return Arrangement("nchw", (place.shape[2], place.shape[3]))
        if (rows, columns) == ([1], [2]):
            return Arrangement("nhwc", (place.shape[1], place.shape[2]))
    elif len(place.shape) == TOKEN_RANK and rows == columns and rows in ([1], [2]):
        return _of_tokens(place, rows[0])
    return None


def _of_tokens(place: Positions, axis: int) -> Arrangement | None:
    """A whole grid, row by row, with tokens that have no place before and after it."""
    at = place.rows.at.reshape(-1)
    index = np.flatnonzero(~np.isnan(at))
    if not len(index) or index[-1] - index[0] + 1 != len(index):
        return None
    width = int((np.abs(at[index] - at[index[0]]) <= ROUNDING).sum())
    if len(index) % width:
        return None
    after = len(at) - 1 - int(index[-1])
    return Arrangement("ntc" if axis == 1 else "nct", (len(index) // width, width), int(index[0]), after)
