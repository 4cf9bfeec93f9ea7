"""A localizer by hand, a photo, and a display that keeps what it was told."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from onnxplain import Engine
from onnxplain.explanations.explanation_folder import ExplanationFolder, PictureStyle
from onnxplain.explanations.open_model import OpenedModel
from onnxplain.explanations.open_options import OpenOptions
from onnxplain.explanations.questions import Question
from onnxplain.explanations.run_record import record_run
from tests.models import ExplainableModel


class RecordedProgress:
    """A `ProgressDisplay` that lists its calls."""

    def __init__(self) -> None:
        self.calls: list[tuple[object, ...]] = []

    def expect(self, steps: int) -> None:
        self.calls.append(("expect", steps))

    def say(self, text: str) -> None:
        self.calls.append(("say", text))

    def within(self, done: int, total: int) -> None:
        self.calls.append(("within", done, total))

    def step(self) -> None:
        self.calls.append(("step",))


@pytest.fixture
def progress() -> RecordedProgress:
    return RecordedProgress()


@pytest.fixture(scope="session")
def engine(tmp_path_factory: pytest.TempPathFactory) -> Engine:
    path = tmp_path_factory.mktemp("models") / "explainable.onnx"
    ExplainableModel().write(path)
    return Engine(path)


@pytest.fixture
def photo(tmp_path: Path) -> Path:
    """photo.png, 40 × 30 random pixels."""
    path = tmp_path / "photo.png"
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (30, 40, 3), np.uint8)).save(path)
    return path


def open_folder(engine: Engine, questions: tuple[Question, ...], path: Path) -> ExplanationFolder:
    """A folder for these questions, with the record of the run."""
    style = PictureStyle()
    run = record_run(OpenedModel(engine, ()), OpenOptions(), questions, style, path)
    return ExplanationFolder(path, style, run)
