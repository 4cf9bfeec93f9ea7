"""Paths as files hold them: seen from the folder of the file, so that no file names the folders of a machine."""

from __future__ import annotations

import os
import re
from pathlib import Path, PureWindowsPath

# An absolute path at the beginning of an argument, behind an option of one letter, or behind = , or file://.
_ABSOLUTE = re.compile(r"(^|^-\w|[=,]|file://)((?:[A-Za-z]:)?[/\\][^,=]*)")


def relative_to(path: Path, folder: Path) -> str:
    """The path as it is written into a folder's files: from that folder, with forward slashes."""
    try:
        return Path(os.path.relpath(path, folder)).as_posix()
    except ValueError:  # Another drive of Windows.
        return path.absolute().as_posix()


def without_folders(argument: str, folder: Path) -> str:
    """An argument of a command line whose absolute paths name no folder of the machine.

    A path below the parent of `folder` is written as seen from `folder`, another one by its name only.
    """
    return _ABSOLUTE.sub(lambda found: found[1] + _shortened(found[2], folder), argument)


def _shortened(text: str, folder: Path) -> str:
    path, below = Path(text), folder.absolute().parent
    if path.is_relative_to(below):
        return relative_to(path, folder.absolute())
    return PureWindowsPath(text).name
