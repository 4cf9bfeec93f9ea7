"""Damage to bytes, to JSON and to the structure of ONNX models, drawn from a seeded generator."""

from __future__ import annotations

import json
import random
from collections.abc import Callable, Iterator
from typing import Any

import onnx
from google.protobuf.descriptor import FieldDescriptor
from google.protobuf.message import Message

ODD_NUMBERS = (0, 1, -1, 2, 3, 7, 255, 256, 2**15, 2**16, 2**31 - 1, 2**31, 2**40, 2**62, 2**63 - 1, -(2**31), -(2**63))
ODD_FLOATS = (0.0, -0.0, 1e-45, 1e38, float("inf"), float("-inf"), float("nan"), -1.0, 0.5)
ODD_TEXTS = (
    "",
    " ",
    "\0",
    "\x1b[31mred\x1b[0m",
    "\x1b]0;title\x07",
    "\u202eabc",
    "\x9b1m",
    "[red]x[/red]",
    "..",
    "../../etc/passwd",
    "/",
    "a" * 300,
    "a" * 70_000,
    "\n",
    "logits",
    "image",
    "target",
    "explain",
    "ünïcödé",
    "-1",
    "nan",
    "1e999",
    "9" * 50,
    "%s%n",
    "{0}",
    "~",
    "$HOME",
    "*",
)
ODD_VALUES: tuple[Any, ...] = (
    None,
    True,
    False,
    *ODD_NUMBERS,
    *ODD_FLOATS,
    *ODD_TEXTS,
    "\ud800",
    [],
    [[]],
    {},
    {"a": {"b": []}},
    10**400,
    [0] * 5000,
)


def damaged_bytes(rng: random.Random, content: bytes) -> bytes:
    """One to four changes: bits turned, bytes removed, doubled, put in, cut off."""
    changed = bytearray(content)
    for _ in range(rng.randint(1, 4)):
        if not changed:
            break
        # Most of what matters stands at the beginning.
        end = min(len(changed), rng.choice((32, 200, len(changed))))
        at = rng.randrange(end)
        length = rng.choice((1, 1, 2, 4, 8, 64))
        kind = rng.randrange(7)
        if kind == 0:
            changed[at] ^= 1 << rng.randrange(8)
        elif kind == 1:
            changed[at : at + length] = rng.randbytes(length)
        elif kind == 2:
            del changed[at : at + length]
        elif kind == 3:
            changed[at:at] = rng.randbytes(length)
        elif kind == 4:
            changed[at:at] = changed[at : at + length * 8]
        elif kind == 5:
            changed[at : at + length] = rng.choice((b"\xff", b"\0", b"\x80", b"\x7f")) * length
        else:
            del changed[rng.randrange(len(changed)) :]
    return bytes(changed)


def damaged_tree(rng: random.Random, tree: Any) -> Any:
    """JSON with one to three odd values, keys left out or doubled."""
    for _ in range(rng.randint(1, 3)):
        places = list(_places(tree))
        if not places:
            return rng.choice(ODD_VALUES)
        parent, key = rng.choice(places)
        kind = rng.randrange(5)
        if kind == 0:
            del parent[key]
        elif kind == 1 and isinstance(parent, list):
            parent.insert(key, parent[key])
        elif kind == 2:
            _, other = places[rng.randrange(len(places))]
            parent[key] = other
        else:
            parent[key] = rng.choice(ODD_VALUES)
    return tree


def damaged_json(rng: random.Random, text: str) -> str:
    """The same as text; now and then nested without end, or no JSON at all."""
    kind = rng.randrange(20)
    if kind == 0:
        return rng.choice("[{") * 100_000
    if kind == 1:
        return '{"a":' * 50_000 + "1" + "}" * 50_000
    if kind == 2:
        return rng.choice(ODD_TEXTS)
    return json.dumps(damaged_tree(rng, json.loads(text)))


def damaged_model(rng: random.Random, content: bytes) -> bytes:
    """A model with one to three fields of its messages changed, removed or doubled."""
    model = onnx.ModelProto.FromString(content)
    for _ in range(rng.randint(1, 3)):
        messages = list(_messages(model))
        message = rng.choice(messages)
        fields = [field for field, _ in message.ListFields()] or list(message.DESCRIPTOR.fields)
        field = rng.choice(fields if rng.random() < 0.8 else list(message.DESCRIPTOR.fields))
        kind = rng.randrange(4)
        if kind == 0:
            message.ClearField(field.name)
        elif kind == 1 and _is_list(field):
            values = list(getattr(message, field.name))
            rng.shuffle(values)
            message.ClearField(field.name)
            for value in values[: rng.randint(0, len(values))] * rng.choice((1, 1, 2)):
                getattr(message, field.name).extend([value])
        else:
            _change(rng, message, field)
    return model.SerializeToString()


def _change(rng: random.Random, message: Message, field: FieldDescriptor) -> None:
    """Another value in a field of numbers, text or bytes."""
    odd: dict[int, Callable[[], Any]] = {
        FieldDescriptor.CPPTYPE_INT64: lambda: rng.choice(ODD_NUMBERS),
        FieldDescriptor.CPPTYPE_UINT64: lambda: abs(rng.choice(ODD_NUMBERS)),
        FieldDescriptor.CPPTYPE_INT32: lambda: rng.choice([number for number in ODD_NUMBERS if abs(number) < 2**31]),
        FieldDescriptor.CPPTYPE_FLOAT: lambda: rng.choice(ODD_FLOATS),
        FieldDescriptor.CPPTYPE_DOUBLE: lambda: rng.choice(ODD_FLOATS),
    }
    if field.cpp_type == FieldDescriptor.CPPTYPE_STRING:
        is_bytes = field.type == FieldDescriptor.TYPE_BYTES
        value: Any = rng.randbytes(rng.choice((0, 1, 4, 100))) if is_bytes else rng.choice(ODD_TEXTS)
    elif field.cpp_type == FieldDescriptor.CPPTYPE_ENUM:
        value = rng.choice([each.number for each in field.enum_type.values])
    elif field.cpp_type in odd:
        value = odd[field.cpp_type]()
    else:
        return
    if _is_list(field):
        values = getattr(message, field.name)
        if len(values) and rng.random() < 0.7:
            values[rng.randrange(len(values))] = value
        else:
            values.append(value)
    else:
        setattr(message, field.name, value)


def _is_list(field: FieldDescriptor) -> bool:
    return bool(field.is_repeated)


def _messages(message: Message) -> Iterator[Message]:
    """The message and every message in it."""
    yield message
    for field, value in message.ListFields():
        if field.cpp_type == FieldDescriptor.CPPTYPE_MESSAGE:
            for inner in value if _is_list(field) else [value]:
                yield from _messages(inner)


def _places(tree: Any) -> Iterator[tuple[Any, Any]]:
    keys = list(tree) if isinstance(tree, dict) else range(len(tree)) if isinstance(tree, list) else ()
    for key in keys:
        yield tree, key
        yield from _places(tree[key])
