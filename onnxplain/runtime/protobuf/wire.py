"""Protobuf's wire format, as far as an ONNX file needs it: fields of a message, and messages without some of them.

See https://protobuf.dev/programming-guides/encoding.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from onnxplain.errors import ModelError

VARINT, FIXED64, LENGTH, FIXED32 = 0, 1, 2, 5
_LARGEST_VARINT_BYTES = 10


class WireError(ModelError):
    """Bytes that are no protobuf message."""


@dataclass(frozen=True)
class WireField:
    """A field of a message: its number, its value, and the bytes `start` … `end` - 1 that it takes, tag included.

    `value`: the content of a string, a message or packed numbers, as a view; the integer otherwise.
    """

    number: int
    value: int | memoryview
    start: int
    end: int

    @property
    def content(self) -> memoryview:
        """The bytes of a string, a message or packed numbers. Raises WireError where it is a number."""
        if isinstance(self.value, int):
            raise WireError(f"field {self.number}: found a number, expected bytes")
        return self.value

    @property
    def text(self) -> str:
        """The content as text."""
        return str(self.content, "utf-8", errors="replace")

    @property
    def integer(self) -> int:
        """The number. Raises WireError where it is bytes."""
        if not isinstance(self.value, int):
            raise WireError(f"field {self.number}: found bytes, expected a number")
        return self.value


def read_fields(message: memoryview) -> Iterator[WireField]:
    """The fields of a message in their order; contents are skipped, not read. Raises WireError."""
    position = 0
    while position < len(message):
        start = position
        tag, position = _read_varint(message, position)
        number, wire = tag >> 3, tag & 7
        if number == 0:
            raise WireError(f"byte {start}: found field 0, expected 1 or more")
        value: int | memoryview
        if wire == VARINT:
            value, position = _read_varint(message, position)
        elif wire in (FIXED64, FIXED32):
            size = 8 if wire == FIXED64 else 4
            value = int.from_bytes(_take(message, position, size), "little")
            position += size
        elif wire == LENGTH:
            size, position = _read_varint(message, position)
            value = _take(message, position, size)
            position += size
        else:
            raise WireError(f"byte {start}: found wire type {wire}, expected 0, 1, 2 or 5")
        yield WireField(number, value, start, position)


def read_integers(field: WireField) -> list[int]:
    """The numbers of a repeated integer field: several where it is packed, else one. Negative ones are signed."""
    if isinstance(field.value, int):
        return [_signed(field.value)]
    numbers, position = [], 0
    while position < len(field.value):
        number, position = _read_varint(field.value, position)
        numbers.append(_signed(number))
    return numbers


def encode_content(number: int, size: int) -> bytes:
    """What stands before a content of `size` bytes in field `number`: its tag and its length."""
    return _encode_varint(number << 3 | LENGTH) + _encode_varint(size)


def without(message: memoryview, dropped: Iterable[WireField]) -> list[memoryview]:
    """The message in pieces, without some of its fields."""
    pieces, position = [], 0
    for field in sorted(dropped, key=lambda each: each.start):
        pieces.append(message[position : field.start])
        position = field.end
    return [*pieces, message[position:]]


def _take(message: memoryview, position: int, size: int) -> memoryview:
    if size > len(message) - position:
        raise WireError(f"byte {position}: found {len(message) - position} bytes, expected {size}: it is truncated")
    return message[position : position + size]


def _read_varint(message: memoryview, position: int) -> tuple[int, int]:
    """The number and the position behind it."""
    if position < len(message) and message[position] < 0x80:
        return message[position], position + 1
    number = 0
    for index in range(_LARGEST_VARINT_BYTES):
        byte = _take(message, position + index, 1)[0]
        number |= (byte & 0x7F) << 7 * index
        if byte < 0x80:
            return number & (1 << 64) - 1, position + index + 1
    raise WireError(f"byte {position}: found a number of more than {_LARGEST_VARINT_BYTES} bytes")


def _encode_varint(number: int) -> bytes:
    encoded = bytearray()
    while number >= 0x80:
        encoded.append(number & 0x7F | 0x80)
        number >>= 7
    encoded.append(number)
    return bytes(encoded)


def _signed(number: int) -> int:
    return number - (1 << 64) if number >= 1 << 63 else number
