"""Writing a file whole or not at all."""

from __future__ import annotations

import os
from pathlib import Path

from onnxplain.errors import OnnxplainError


def write_atomically(path: str | os.PathLike[str], data: bytes) -> None:
    """Write `data` to `path` through a temporary file in the same folder, which then takes its name.

    Whoever reads `path` sees the old file or the new one, never half of it. Raises OnnxplainError where the
    folder is missing or not writable, or the disk is full; the old file then stays.
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
            f"{path}: cannot be written ({error.strerror or error}): name a folder that is there and writable"
        ) from error
    finally:
        temporary.unlink(missing_ok=True)
