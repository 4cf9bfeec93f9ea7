"""Fixtures that all tests share."""

from __future__ import annotations

from pathlib import Path

import pytest

_ASSETS = Path(__file__).resolve().parents[2] / "shared" / "assets"


@pytest.fixture(scope="session")
def assets() -> Path:
    """The folder of real models and photos; tests that ask for it are skipped where it is absent."""
    if not _ASSETS.is_dir():
        pytest.skip("no ../shared/assets beside the repository: real models and photos are not there")
    return _ASSETS
