"""A folder of explanations that all tests of the report read; no test writes to it."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from tests.report.folders import write_folder


@pytest.fixture(scope="session")
def written(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_folder(tmp_path_factory.mktemp("report"))


@pytest.fixture
def copied(written: Path, tmp_path: Path) -> Path:
    """The same folder with its photos and its model, to change."""
    shutil.copytree(written.parent, tmp_path / "copy")
    return tmp_path / "copy" / "out"
