"""Write a file completely or not at all."""

from __future__ import annotations

import io
import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO

from onnxplain.errors import OnnxplainError

PART_SUFFIX = ".part"


@contextmanager
def replacing(path: Path) -> Iterator[IO[bytes]]:
    """A stream whose content replaces the file `path` when the context ends without an error.

    A reader of `path` sees the old file or the new one, never a part of it, also after a loss of power. A symbolic
    link at `path` is replaced, not followed. The new file has the permissions of any new file (umask). Raises OSError;
    the old file is then kept, and nothing is left behind.
    """
    temporary, stream = open_beside(path)
    try:
        with stream:
            yield stream
            flush_to_disk(stream)
        temporary.replace(path)
    finally:
        # Only a failure leaves it here.
        with suppress(OSError):
            temporary.unlink(missing_ok=True)


def write_atomically(path: str | os.PathLike[str], data: bytes | memoryview) -> None:
    """Write `data` to a file as `replacing` does.

    Raises OnnxplainError if the folder is missing or not writable, or the disk is full; the old file is then kept.
    """
    path = Path(path)
    try:
        with replacing(path) as file:
            file.write(data)
    except OSError as error:
        raise OnnxplainError(
            f"{path}: cannot be written ({error.strerror or error}), expected a folder that exists and is writable: "
            "check the disk, or give another path"
        ) from error


def open_anew(path: Path) -> io.FileIO:
    """An unbuffered stream to a new, empty file, which replaces `path` at once as `replacing` does. Raises OSError."""
    temporary, descriptor = _create_beside(path)
    try:
        temporary.replace(path)
    except BaseException:
        os.close(descriptor)
        temporary.unlink(missing_ok=True)
        raise
    return io.FileIO(descriptor, "wb")


def open_beside(path: Path) -> tuple[Path, IO[bytes]]:
    """A new file in the folder of `path`, and its stream. Its name cannot be predicted. Raises OSError.

    A rename is atomic only within one file system, so it is in the same folder.
    """
    temporary, descriptor = _create_beside(path)
    return temporary, os.fdopen(descriptor, "wb")


def flush_to_disk(stream: IO[bytes]) -> None:
    """Wait until the stream's content is on the disk: a rename may reach the disk before the content does."""
    stream.flush()
    os.fsync(stream.fileno())


def _create_beside(path: Path) -> tuple[Path, int]:
    # Not tempfile.mkstemp: its files are readable by the owner alone, whatever the umask says.
    temporary = path.with_name(f".onnxplain-{secrets.token_hex(8)}{PART_SUFFIX}")
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | getattr(os, "O_BINARY", 0), 0o666)
    return temporary, descriptor
