"""Messages between a driver and a worker of its own: whole pickles over pipes."""

from __future__ import annotations

import pickle
import struct
from dataclasses import dataclass
from typing import IO, Any

_LENGTH = struct.Struct("<Q")


@dataclass(frozen=True)
class WorkerReady:
    """The worker has opened the model."""


@dataclass(frozen=True)
class ImageTried:
    """The worker now explains this image of a trial."""

    place: int


@dataclass(frozen=True)
class TrialDone:
    """All images of a trial were explained."""


@dataclass(frozen=True)
class WorkerFailed:
    """The worker cannot go on: the text of an OnnxplainError. `all_failed`: nothing in the first part was explained."""

    message: str
    all_failed: bool = False


def send(stream: IO[bytes], message: Any) -> None:
    """Write one message. Raises OSError if nobody reads any more."""
    content = pickle.dumps(message)
    stream.write(_LENGTH.pack(len(content)) + content)
    stream.flush()


def receive_bytes(stream: IO[bytes]) -> bytes | None:
    """The bytes of the next message, which `pickle.loads` reads; None at the end, also in the middle of a message."""
    start = stream.read(_LENGTH.size)
    if len(start) < _LENGTH.size:
        return None
    (length,) = _LENGTH.unpack(start)
    content = stream.read(length)
    return content if len(content) == length else None
