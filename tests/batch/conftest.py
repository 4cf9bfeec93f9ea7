"""Small photos and a model by hand, and a batch of them."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path

import pytest

from onnxplain.contract import Preprocessing
from tests.cli.conftest import write_photo
from tests.models import ExplainableModel

# The extra `batch` is part of the environment that `make test` builds.
collect_ignore_glob = [] if find_spec("pyarrow") else ["test_*.py"]


def write_slow_photos(folder: Path, count: int) -> Path:
    """Images at which the engine of `trouble` pauses."""
    for number in range(count):
        write_photo(folder / f"slow-{number:02d}.png", (12, 10 + number % 3), number)
    return folder


@pytest.fixture(scope="session")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    # With pixels of 0 to 255 its softmax would be one-hot, and every map of RISE constant.
    preprocessing = Preprocessing(scale=1 / 255, resize="stretch")
    return ExplainableModel().write(tmp_path_factory.mktemp("batch") / "explainable.onnx", preprocessing=preprocessing)


@pytest.fixture(scope="session")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """60 photos of different sizes in a folder and two subfolders, and two files that are none."""
    folder = tmp_path_factory.mktemp("photos")
    for number in range(60):
        place = folder / ("", "first", "second")[number % 3]
        place.mkdir(exist_ok=True)
        write_photo(place / f"{number:02d}.png", (12 + number % 7, 10 + number % 5), number)
    (folder / "first" / "07-damaged.png").write_bytes(b"\x89PNG\r\n\x1a\nbroken")
    (folder / "notes.txt").write_text("no image")
    return folder
