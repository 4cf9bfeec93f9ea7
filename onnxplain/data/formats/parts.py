"""The parts of a data set: train, validation, test."""

from __future__ import annotations

from pathlib import Path, PurePath
from typing import Literal

Part = Literal["train", "validation", "test"]

_FOLDER_NAMES: dict[str, Part] = {
    "train": "train",
    "training": "train",
    "val": "validation",
    "valid": "validation",
    "validation": "validation",
    "test": "test",
    "testing": "test",
}


def part_folders(folder: Path) -> dict[Path, Part]:
    """The subfolders with their parts, if every subfolder is a part; empty otherwise."""
    folders = subfolders(folder)
    parts = {path: _FOLDER_NAMES[path.name.lower()] for path in folders if path.name.lower() in _FOLDER_NAMES}
    return parts if len(parts) == len(folders) else {}


def part_of(path: PurePath) -> Part | Literal[""]:
    """The part that one of the folders in a relative path names; empty if none does."""
    return next((_FOLDER_NAMES[name.lower()] for name in path.parts[:-1] if name.lower() in _FOLDER_NAMES), "")


def subfolders(folder: Path) -> list[Path]:
    """The folders in a folder, sorted, without hidden ones; empty if `folder` is a file."""
    if not folder.is_dir():
        return []
    return sorted(path for path in folder.iterdir() if path.is_dir() and not path.name.startswith("."))
