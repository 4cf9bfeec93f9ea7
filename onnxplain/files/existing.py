"""Whether a text names a file that exists."""

from __future__ import annotations

from pathlib import Path


def is_existing_file(name: str | Path) -> bool:
    """Whether there is a file of this name. No name raises: one that the system does not allow names no file."""
    try:
        return Path(name).is_file()
    except (OSError, ValueError):
        return False
