"""Where the files of a data set may be: annotations that come from elsewhere must not name any file of this machine."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from pathlib import Path

_ANYWHERE: tuple[Path, ...] | None = None
# The folders of the data set that is being read in this thread. The functions of a format get only its path.
_FOLDERS: ContextVar[tuple[Path, ...] | None] = ContextVar("folders of the data set", default=_ANYWHERE)


@contextmanager
def bounded(folders: Sequence[Path]) -> Iterator[None]:
    """Annotation files are read only from these folders while the context lasts."""
    token = _FOLDERS.set(tuple(folders))
    try:
        yield
    finally:
        _FOLDERS.reset(token)


def leaves_data_set(path: Path) -> bool:
    """Whether a path of an annotation file, after all links, is outside the data set that is being read."""
    folders = _FOLDERS.get()
    return folders is not None and not is_inside(path, folders)


def is_inside(path: Path, folders: Sequence[Path]) -> bool:
    """Whether a path, after ``..`` and all links, is in one of the folders, which are without links themselves."""
    try:
        real = path.resolve()
    except (OSError, RuntimeError, ValueError):  # links in a circle, or no file name
        return False
    return any(real.is_relative_to(folder) for folder in folders)
