"""The edge example, where nothing beyond the `cpu` extra can be imported."""

from __future__ import annotations

import re
from pathlib import Path

import cv2
import numpy as np
import pytest

from onnxplain import Engine
from tests.cli.process import BEYOND_CPU, run_without
from tests.models import ExplainableModel

EXAMPLE = Path(__file__).resolve().parents[1] / "examples" / "edge.py"
LINE = re.compile(r"^(\d{5})  (\S+) (\d\.\d\d)  box \[(\d+, ){3}\d+\]  \d+\.\d ms$")
FRAMES = 5


@pytest.fixture
def frames() -> list[np.ndarray]:
    """RGB frames uint8 (48, 64, 3), each of one colour, so that a video codec keeps them."""
    return [np.full((48, 64, 3), colour, np.uint8) for colour in np.random.default_rng(0).integers(0, 256, (FRAMES, 3))]


def write_folder(path: Path, frames: list[np.ndarray]) -> None:
    path.mkdir()
    (path / "notes.txt").write_text("no image")
    for number, frame in enumerate(frames):
        cv2.imwrite(str(path / f"{number}.png"), frame[..., ::-1])


def write_video(path: Path, frames: list[np.ndarray]) -> None:
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"MJPG"), 5, (64, 48))
    for frame in frames:
        writer.write(np.ascontiguousarray(frame[..., ::-1]))
    writer.release()


@pytest.mark.parametrize(("name", "write"), [("folder", write_folder), ("video.avi", write_video)])
def test_a_line_per_frame_and_a_heatmap_of_every_nth(name, write, frames, tmp_path):
    model = ExplainableModel().write(tmp_path / "model.onnx")
    write(tmp_path / name, frames)
    result = run_without(BEYOND_CPU, str(EXAMPLE), str(model), name, "--every", "2", "-o", "out", folder=tmp_path)
    assert result.returncode == 0, result.stderr
    matches = [LINE.match(line) for line in result.stdout.splitlines()]
    assert [match and match[1] for match in matches] == [f"{number:05}" for number in range(FRAMES)]
    if name == "folder":
        labels = [prediction.label for prediction in Engine(model).predict(frames)]
        assert [match and match[2] for match in matches] == labels
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["00000.png", "00002.png", "00004.png"]
    assert cv2.imread(str(tmp_path / "out" / "00000.png")).shape == (48, 64, 3)


def test_a_source_that_cannot_be_read_is_named(tmp_path):
    model = ExplainableModel().write(tmp_path / "model.onnx")
    result = run_without(BEYOND_CPU, str(EXAMPLE), str(model), "missing.mp4", folder=tmp_path)
    assert result.returncode != 0
    assert "missing.mp4: found no camera, video or folder" in result.stderr


def test_it_is_short_and_uses_the_public_api_only():
    text = EXAMPLE.read_text(encoding="utf-8")
    assert len(text.splitlines()) <= 40
    imported = set(re.findall(r"^(?:import|from) (\w+)", text, re.MULTILINE))
    assert imported <= {"argparse", "time", "pathlib", "cv2", "numpy", "onnxplain"}
    assert not re.findall(r"\b_\w+\(", text)
