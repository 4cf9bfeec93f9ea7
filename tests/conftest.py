"""Fixtures that all tests share."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

# Before any test imports ONNX Runtime itself: no telemetry from test runs.
os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")

_ASSETS = Path(__file__).resolve().parents[2] / "shared" / "assets"


@pytest.fixture(scope="session")
def assets() -> Path:
    """The folder of real models and photos; tests that ask for it are skipped where it is absent."""
    if not _ASSETS.is_dir():
        pytest.skip("no ../shared/assets beside the repository: real models and photos are not there")
    return _ASSETS


@pytest.fixture(scope="session", autouse=True)
def cache_of_tests(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """No test reads or fills the user's cache of instrumented copies."""
    folder = tmp_path_factory.mktemp("cache")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("ONNXPLAIN_CACHE", str(folder))
        yield folder
