"""What a model file says about itself, read without a package that reads ONNX; weights are skipped.

The numbers of the fields are those of onnx.proto (https://github.com/onnx/onnx/blob/main/onnx/onnx.proto).
"""

from __future__ import annotations

import hashlib
import mmap
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from onnxplain.contract import METADATA_KEY
from onnxplain.errors import ModelError
from onnxplain.runtime.protobuf.wire import WireError, WireField, read_fields

_IR_VERSION, _PRODUCER, _PRODUCER_VERSION, _GRAPH, _OPSET, _METADATA = 1, 2, 3, 7, 8, 14
# Of an entry in the opsets, in the metadata, and in the description of external data.
_KEY, _VALUE = 1, 2
_STANDARD_DOMAINS = ("", "ai.onnx")
_LOCATION = "location"
# Message → field → message in it: the way to every tensor, through nodes, subgraphs and functions.
_WITHIN: Mapping[str, Mapping[int, str]] = {
    "model": {7: "graph", 25: "function"},
    "graph": {1: "node", 5: "tensor", 15: "sparse"},
    "function": {7: "node"},
    "node": {5: "attribute"},
    "attribute": {5: "tensor", 6: "graph", 10: "tensor", 11: "graph", 22: "sparse", 23: "sparse"},
    "sparse": {1: "tensor", 2: "tensor"},
    "tensor": {13: "external"},
}
_BLOCK = 1 << 20


@dataclass(frozen=True)
class ModelFacts:
    """The format of a model file, and whether it is explainable.

    `opsets`: the versions of the operators by domain, the standard domain as "". `producer`: the program that wrote the
    file, with its version.
    """

    ir_version: int
    opsets: Mapping[str, int]
    producer: str
    explainable: bool


def read_facts(path: Path) -> ModelFacts:
    """The facts of a file. Raises ModelError if it cannot be read or is no complete ONNX model."""
    with opened_model(path) as model:
        return _read(model)


def external_files(path: Path) -> tuple[str, ...]:
    """The files that hold external data of a model, as the model names them: paths in its folder. Raises ModelError."""
    with opened_model(path) as model:
        return tuple(dict.fromkeys(_locations(model)))


def model_files(path: Path) -> tuple[Path, ...]:
    """The model file and the existing files of its external data, which belong to it. Raises ModelError."""
    weights = (path.parent / name for name in external_files(path))
    return (path, *(file for file in weights if file.is_file()))


def hash_files(paths: Sequence[Path]) -> str:
    """SHA-256 of the contents, one after the other, in hexadecimal."""
    digest = hashlib.sha256()
    for path in paths:
        with path.open("rb") as file:
            while block := file.read(_BLOCK):
                digest.update(block)
    return digest.hexdigest()


@contextmanager
def opened_model(path: Path) -> Iterator[memoryview]:
    """The bytes of a file, read from the disk where they are used. Raises ModelError, also for a WireError inside."""
    try:
        with path.open("rb") as file:
            model = memoryview(mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ))
    except (OSError, ValueError) as error:
        raise ModelError(f"{path}: cannot be read ({error}), expected an ONNX model file: check the path") from error
    try:
        yield model
    except WireError as error:
        raise ModelError(f"{path}: found no complete ONNX model ({error}), expected one: export it again") from error


def _read(model: memoryview) -> ModelFacts:
    fields = list(read_fields(model))
    if not any(field.number == _GRAPH for field in fields):
        raise WireError("no graph in it")
    opsets = {}
    for entry in (dict(_pairs(field.content)) for field in fields if field.number == _OPSET):
        domain = entry[_KEY].text if _KEY in entry else ""
        opsets["" if domain in _STANDARD_DOMAINS else domain] = entry[_VALUE].integer if _VALUE in entry else 0
    producer = [field.text for number in (_PRODUCER, _PRODUCER_VERSION) for field in fields if field.number == number]
    metadata = [dict(_pairs(field.content)) for field in fields if field.number == _METADATA]
    return ModelFacts(
        ir_version=next((field.integer for field in fields if field.number == _IR_VERSION), 0),
        opsets=opsets,
        producer=" ".join(text for text in producer if text),
        explainable=any(_KEY in entry and entry[_KEY].text == METADATA_KEY for entry in metadata),
    )


def _locations(model: memoryview) -> Iterator[str]:
    """The file names of external data. A stack in place of recursion: subgraphs can be nested deeply."""
    waiting = [("model", model)]
    while waiting:
        kind, message = waiting.pop()
        if kind == "external":
            entry = dict(_pairs(message))
            if _KEY in entry and _VALUE in entry and entry[_KEY].text == _LOCATION:
                yield entry[_VALUE].text
            continue
        within = _WITHIN[kind]
        inner = [(within[field.number], field.content) for field in read_fields(message) if field.number in within]
        waiting.extend(reversed(inner))


def _pairs(message: memoryview) -> Iterator[tuple[int, WireField]]:
    return ((field.number, field) for field in read_fields(message))
