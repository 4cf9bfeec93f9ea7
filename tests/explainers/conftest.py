from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.explainers.tiny_model import MakeModel, TinyModel, make_tiny_model


@pytest.fixture
def make_model(tmp_path: Path) -> MakeModel:
    """`make_tiny_model`, each call into a file of its own."""

    def make(**options: Any) -> TinyModel:
        return make_tiny_model(tmp_path / f"model{len(list(tmp_path.iterdir()))}.onnx", **options)

    return make
