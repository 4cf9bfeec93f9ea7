"""Paths that are no files: reading a pipe waits for ever, and reading a device may have any effect."""

from __future__ import annotations

import errno
import os
import stat
from pathlib import Path

_KINDS = {
    stat.S_IFIFO: "a named pipe (FIFO)",
    stat.S_IFSOCK: "a socket",
    stat.S_IFCHR: "a device",
    stat.S_IFBLK: "a device",
}


def refuse_special(path: str | os.PathLike[str]) -> None:
    """Raise an OSError for such a path. Call it before a file of unknown origin is opened."""
    if kind := special_kind(path):
        raise OSError(errno.EINVAL, f"it is {kind}, not a file")


def special_kind(path: str | os.PathLike[str]) -> str | None:
    """What a path names if it is neither a file nor a folder: "a device"; else None, also if it cannot be looked at."""
    try:
        return _KINDS.get(stat.S_IFMT(Path(path).stat().st_mode))
    except (OSError, ValueError):
        return None
