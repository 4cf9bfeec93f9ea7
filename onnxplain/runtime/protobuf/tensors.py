"""Small constants of an ONNX file, read without a package that reads ONNX; large ones are skipped.

The numbers of the fields are those of TensorProto in onnx.proto
(https://github.com/onnx/onnx/blob/main/onnx/onnx.proto).
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from onnxplain.runtime.protobuf.wire import WireError, WireField, read_fields, read_integers

_DIMS, _TYPE, _FLOATS, _INT32S, _INT64S, _NAME, _RAW, _DOUBLES, _LOCATION = 1, 2, 4, 5, 7, 8, 9, 10, 14
_DTYPES: Mapping[int, str] = {
    1: "float32",
    2: "uint8",
    3: "int8",
    4: "uint16",
    5: "int16",
    6: "int32",
    7: "int64",
    9: "bool",
    10: "float16",
    11: "float64",
}
MOST_ELEMENTS = 64
"""Scalars and lists of axes or sizes are read; what holds more is a weight."""


@dataclass(frozen=True)
class StoredTensor:
    """A constant: its name, and its values where they are few and lie in the file itself."""

    name: str
    values: npt.NDArray[np.generic] | None


def read_tensor(message: memoryview) -> StoredTensor:
    """The constant in a TensorProto. Raises WireError."""
    sizes: list[int] = []
    fields: dict[int, list[WireField]] = {}
    for field in read_fields(message):
        if field.number == _DIMS:
            sizes.extend(read_integers(field))
        else:
            fields.setdefault(field.number, []).append(field)
    name = fields[_NAME][-1].text if _NAME in fields else ""
    dtype = _DTYPES.get(fields[_TYPE][-1].integer) if _TYPE in fields else None
    external = _LOCATION in fields and fields[_LOCATION][-1].integer != 0
    if dtype is None or external or math.prod(sizes) > MOST_ELEMENTS:
        return StoredTensor(name, None)
    array = _values(fields, np.dtype(dtype).newbyteorder("<"))
    if array.size != math.prod(sizes):
        raise WireError(f"constant {name!r}: found {array.size} values, expected {math.prod(sizes)}")
    return StoredTensor(name, array.reshape(sizes).astype(dtype))


def read_dims(message: memoryview) -> tuple[int, ...]:
    """The shape in a TensorProto. Raises WireError."""
    return tuple(size for field in read_fields(message) if field.number == _DIMS for size in read_integers(field))


def _values(fields: Mapping[int, list[WireField]], dtype: np.dtype[np.generic]) -> npt.NDArray[np.generic]:
    """The values, flat: as bytes, or listed in the field of their type."""
    if _RAW in fields:
        content = fields[_RAW][-1].content
        if len(content) % dtype.itemsize:
            raise WireError(f"found a constant of {len(content)} bytes, expected whole values of {dtype.name}")
        return np.frombuffer(content, dtype)
    for number, stored in ((_FLOATS, "<f4"), (_DOUBLES, "<f8")):
        if number in fields:
            return np.concatenate([_floats(field, np.dtype(stored)) for field in fields[number]])
    listed = [field for number in (_INT32S, _INT64S) for field in fields.get(number, ())]
    integers = [number for field in listed for number in read_integers(field)]
    if dtype.kind == "f":  # float16 is listed by its bits.
        return np.array(integers, np.uint16).view("<f2")
    return np.array(integers, np.int64).astype(dtype)


def _floats(field: WireField, dtype: np.dtype[np.generic]) -> npt.NDArray[np.generic]:
    """Packed numbers, or a single one."""
    packed = field.value.to_bytes(dtype.itemsize, "little") if isinstance(field.value, int) else field.value
    return np.frombuffer(packed, dtype)
