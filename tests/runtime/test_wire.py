"""Protobuf's wire format, held against Google's own package."""

from __future__ import annotations

import pytest
from google.protobuf import descriptor_pb2
from hypothesis import given
from hypothesis import strategies as st

from onnxplain.runtime.protobuf.graph_reader import read_graph
from onnxplain.runtime.protobuf.wire import WireError, encode_content, read_fields, read_integers, without
from tests.runtime.test_graph_reader import tiny_model


@given(st.lists(st.integers(-(2**31), 2**31 - 1)), st.text(max_size=300), st.floats(), st.integers(0, 2**64 - 1))
def test_fields_of_every_type(integers: list[int], text: str, number: float, unsigned: int) -> None:
    message = descriptor_pb2.UninterpretedOption(identifier_value=text, double_value=number)
    message.positive_int_value = unsigned
    found = {field.number: field for field in read_fields(memoryview(message.SerializeToString()))}
    assert set(found) == {number.number for number, _ in message.ListFields()}
    assert found[3].text == text
    assert found[4].integer == unsigned
    # Not packed: one field for each, negative numbers in ten bytes.
    location = descriptor_pb2.FileDescriptorProto(public_dependency=integers)
    fields = list(read_fields(memoryview(location.SerializeToString())))
    assert [number for field in fields for number in read_integers(field)] == integers
    packed = descriptor_pb2.SourceCodeInfo.Location(path=integers).SerializeToString()
    assert [number for field in read_fields(memoryview(packed)) for number in read_integers(field)] == integers


@pytest.mark.parametrize("size", [0, 1, 127, 128, 300, 2**31 - 1])
def test_a_head_is_read_back(size: int) -> None:
    head = encode_content(7, size)
    with pytest.raises(WireError, match="truncated") if size else pytest.raises(StopIteration):
        fields = read_fields(memoryview(head))
        assert next(fields).number == 7
        next(fields)


def test_a_message_without_some_fields() -> None:
    message = descriptor_pb2.FileDescriptorProto(name="a", dependency=["b", "c", "d"], syntax="e")
    view = memoryview(message.SerializeToString())
    dropped = [field for field in read_fields(view) if field.number == 3 and field.text in "bd"]
    del message.dependency[2], message.dependency[0]
    assert b"".join(without(view, dropped)) == message.SerializeToString()
    assert b"".join(without(view, [])) == view


@pytest.mark.parametrize(
    ("data", "found"),
    [
        (b"\x0a\x05abc", "truncated"),
        (b"\x0a", "truncated"),
        (b"\x09abc", "truncated"),
        (b"\x0b", "wire type 3"),
        (b"\x00\x01", "field 0"),
        (b"\x80" * 11, "more than 10 bytes"),
        (b"\x0a" + b"\xff" * 9 + b"\x01", "truncated"),
    ],
)
def test_bytes_that_are_no_message(data: bytes, found: str) -> None:
    with pytest.raises(WireError, match=found):
        list(read_fields(memoryview(data)))


def test_a_field_of_the_other_kind() -> None:
    number, content = read_fields(memoryview(b"\x08\x01\x12\x01a"))
    with pytest.raises(WireError, match="found a number"):
        _ = number.content
    with pytest.raises(WireError, match="found bytes"):
        _ = content.integer


@given(st.binary(max_size=60))
def test_any_bytes_are_read_or_refused(data: bytes) -> None:
    try:
        fields = list(read_fields(memoryview(data)))
    except WireError:
        return
    assert [field.end for field in fields[:-1]] == [field.start for field in fields[1:]]


@given(st.data())
def test_a_damaged_model_is_read_or_refused(data: st.DataObject) -> None:
    damaged = bytearray(tiny_model().SerializeToString())
    for _ in range(data.draw(st.integers(1, 4))):
        damaged[data.draw(st.integers(0, len(damaged) - 1))] = data.draw(st.integers(0, 255))
    try:
        read_graph(bytes(damaged[: data.draw(st.integers(0, len(damaged)))]))
    except WireError:
        return
