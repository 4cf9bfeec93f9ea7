"""A file of lines that grows while a command runs."""

from __future__ import annotations

import io
from contextlib import suppress


class LineFile:
    """Adds lines to the end of a file, each in the file as soon as `add` returns.

    If a line cannot be written, for example because the disk is full, the file is cut back to its whole lines. The
    stream belongs to this object.
    """

    def __init__(self, stream: io.FileIO) -> None:
        self._stream = stream

    def add(self, line: bytes) -> None:
        """Write a line, which ends in a line break. Raises OSError."""
        start = self._stream.seek(0, io.SEEK_END)
        try:
            left = memoryview(line)
            while left:
                left = left[self._stream.write(left) or 0 :]
        except BaseException:
            # Also after Ctrl-C in the middle of a line.
            with suppress(OSError):
                self._stream.truncate(start)
            raise

    def cut(self, size: int) -> None:
        """Keep the first `size` bytes. Raises OSError."""
        self._stream.truncate(size)

    def close(self) -> None:
        """Close the file. Nothing is left to write, so this cannot fail for a full disk."""
        self._stream.close()
