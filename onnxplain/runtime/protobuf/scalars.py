"""Constants of one number in a serialised model.

The numbers of the fields and types are those of onnx.proto (https://github.com/onnx/onnx/blob/main/onnx/onnx.proto).
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np

from onnxplain.runtime.protobuf.wire import WireError, WireField, read_fields, read_integers

_DIMS, _TYPE, _FLOATS, _INTEGERS, _RAW, _DOUBLES = 1, 2, 4, 5, 9, 10
_FLOAT16 = 10
_TYPES: Mapping[int, np.dtype[Any]] = {
    1: np.dtype("<f4"),
    2: np.dtype("u1"),
    3: np.dtype("i1"),
    _FLOAT16: np.dtype("<f2"),
    11: np.dtype("<f8"),
}


def read_scalar(tensor: memoryview) -> float | None:
    """The number of a tensor of one element: float, double, float16, uint8 or int8.

    None for any other tensor, and for one whose data lie in another file.
    """
    fields = list(read_fields(tensor))
    if math.prod(number for field in fields if field.number == _DIMS for number in read_integers(field)) != 1:
        return None
    dtype = _TYPES.get(next((field.integer for field in fields if field.number == _TYPE), 0))
    if dtype is None:
        return None
    for field in fields:
        if field.number == _RAW:
            return _first(field.content, dtype)
        if field.number in (_FLOATS, _DOUBLES):
            return _first(_bytes_of(field, dtype), dtype)
        if field.number == _INTEGERS:
            (number,) = read_integers(field) or (0,)
            # float16 is stored as the integer of its bits.
            return float(np.uint16(number).view(np.float16)) if dtype == _TYPES[_FLOAT16] else float(number)
    return None


def _bytes_of(field: WireField, dtype: np.dtype[Any]) -> bytes | memoryview:
    """The bytes of a number, packed or not."""
    return field.value.to_bytes(dtype.itemsize, "little") if isinstance(field.value, int) else field.value


def _first(content: bytes | memoryview, dtype: np.dtype[Any]) -> float:
    if len(content) != dtype.itemsize:
        raise WireError(f"found {len(content)} bytes, expected one {dtype.name}: it is damaged")
    return float(np.frombuffer(content, dtype)[0])
