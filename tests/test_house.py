"""The house itself: rooms that say what belongs in them, none crowded, no file too long to read at once."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[1] / "onnxplain"
FOLDERS = sorted(path.parent for path in PACKAGE.rglob("__init__.py"))
FILES = sorted(PACKAGE.rglob("*.py"))
MOST_FILES, MOST_LINES = 24, 300


def _name(path: Path) -> str:
    return path.relative_to(PACKAGE.parent).as_posix()


@pytest.mark.parametrize("folder", FOLDERS, ids=_name)
def test_a_folder_says_what_belongs_in_it_and_is_not_crowded(folder: Path) -> None:
    assert ast.get_docstring(ast.parse((folder / "__init__.py").read_text(encoding="utf-8")))
    assert len(list(folder.glob("*.py"))) <= MOST_FILES


def test_every_folder_with_code_is_a_package() -> None:
    assert {path.parent for path in FILES} == set(FOLDERS)


def test_a_file_can_be_read_at_once() -> None:
    lines = {_name(file): len(file.read_text(encoding="utf-8").splitlines()) for file in FILES}
    assert {name: count for name, count in lines.items() if count > MOST_LINES} == {}
