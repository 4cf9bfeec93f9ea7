"""A raw map as text for the page: exact where it is small, in 16-bit steps of its range where it is large."""

from __future__ import annotations

import base64
import zlib
from typing import Any

import numpy as np

from onnxplain.runtime.arrays import FloatArray

# Layers of networks have fewer cells than this; maps of the input's size have more.
MOST_EXACT_CELLS = 64 * 64
_STEPS = 2**16 - 1


def encode_map(raw_hw: FloatArray, *, heat_from_zero: bool) -> dict[str, Any]:
    """A finite map float32 (h, w) as plain data, which `decodeMap` of page/map_math.js reads.

    Up to `MOST_EXACT_CELLS` cells: ``float32``, little-endian, exact. Above: ``steps``, ``low + step · n`` with n of 16
    bits, so each value is at most half a step (range / 131,070) away. The steps are stored as differences along both
    axes, zigzag-coded, low bytes before high bytes, deflated: a smooth map takes about a byte per cell.
    `heat_from_zero`: negative values mean no heat, so they are not kept in a large map.
    """
    height, width = raw_hw.shape
    size = {"h": height, "w": width}
    if raw_hw.size <= MOST_EXACT_CELLS:
        return {"kind": "float32", **size, "data": _text(raw_hw.astype("<f4").tobytes())}
    values = np.maximum(raw_hw, 0).astype(np.float64) if heat_from_zero else raw_hw.astype(np.float64)
    low = float(values.min())
    step = (float(values.max()) - low) / _STEPS or 1.0
    steps = np.rint((values - low) / step).astype(np.int32)
    rows = np.diff(steps, axis=0, prepend=np.zeros((1, width), np.int32))
    differences = np.diff(rows, axis=1, prepend=np.zeros((height, 1), np.int32))
    # Sums are taken modulo 2^16, so a difference needs 16 bits only.
    wrapped = differences.astype(np.int16).astype(np.int32)
    zigzag = ((wrapped << 1) ^ (wrapped >> 31)) & 0xFFFF
    planes = np.concatenate([zigzag.ravel() & 0xFF, zigzag.ravel() >> 8]).astype(np.uint8)
    return {"kind": "steps", **size, "low": low, "step": step, "data": _text(zlib.compress(planes.tobytes(), 9))}


def _text(data: bytes) -> str:
    return base64.b64encode(data).decode("ascii")
