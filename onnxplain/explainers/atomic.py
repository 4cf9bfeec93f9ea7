"""Write a file completely or not at all."""

from __future__ import annotations

import os
from pathlib import Path

from onnxplain.errors import OnnxplainError


def write_atomically(path: str | os.PathLike[str], data: bytes) -> None:
    """Write `data` to a temporary file in the same folder, then rename it to `path`.

    A reader of `path` sees the old file or the new one, never a part of it. Raises OnnxplainError if the folder is
    missing or not writable, or the disk is full; the old file is then kept.
    """
    path = Path(path)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        with temporary.open("wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    except OSError as error:
        raise OnnxplainError(
            f"{path}: cannot be written ({error.strerror or error}), expected a folder that exists and is writable: "
            "give another path"
        ) from error
    finally:
        temporary.unlink(missing_ok=True)
