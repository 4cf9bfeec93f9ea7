"""The edge example, where nothing beyond the `cpu` extra can be imported."""

from __future__ import annotations

import re
import subprocess
from importlib.resources import files
from pathlib import Path

import cv2
import numpy as np
import pytest

from onnxplain import Engine
from tests.cli.process import BEYOND_CPU, run_without
from tests.models import ExplainableModel

EXAMPLE = ("-m", "onnxplain.examples.edge")
LINE = re.compile(r"^(\S+)  (\S+) (\d\.\d\d)  box \[(\d+, ){3}\d+\]  \d+\.\d ms$")
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


@pytest.fixture
def model(tmp_path: Path) -> Path:
    return ExplainableModel().write(tmp_path / "model.onnx")


def labels_and_names(result: subprocess.CompletedProcess[str]) -> tuple[list[str], list[str]]:
    matches = [LINE.match(line) for line in result.stdout.splitlines()]
    assert all(matches), result.stdout
    return [match[1] for match in matches if match], [match[2] for match in matches if match]


def maps_in(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_every_image_of_a_folder_has_its_map_under_its_name(model, frames, tmp_path):
    write_folder(tmp_path / "folder", frames)
    result = run_without(BEYOND_CPU, *EXAMPLE, str(model), "folder", "-o", "out", folder=tmp_path)
    assert result.returncode == 0, result.stderr
    names, labels = labels_and_names(result)
    assert names == [f"{number}.png" for number in range(FRAMES)]
    assert labels == [prediction.label for prediction in Engine(model).predict(frames)]
    assert maps_in(tmp_path / "out") == [f"{number}.png" for number in range(FRAMES)]
    height, width = cv2.imread(str(tmp_path / "out" / "0.png")).shape[:2]
    assert height > 48 and width >= 64


def test_every_second_image_and_images_of_one_stem(model, frames, tmp_path):
    write_folder(tmp_path / "folder", frames)
    cv2.imwrite(str(tmp_path / "folder" / "0.bmp"), frames[1])
    result = run_without(BEYOND_CPU, *EXAMPLE, str(model), "folder", "--every", "2", "-o", "out", folder=tmp_path)
    assert result.returncode == 0, result.stderr
    assert labels_and_names(result)[0] == ["0.bmp", *(f"{number}.png" for number in range(FRAMES))]
    assert maps_in(tmp_path / "out") == ["0.bmp.png", "1.png", "3.png"]


def test_an_image_that_cannot_be_read_is_named_and_the_others_are_explained(model, frames, tmp_path):
    write_folder(tmp_path / "folder", frames)
    (tmp_path / "folder" / "1.png").write_text("no image")
    result = run_without(BEYOND_CPU, *EXAMPLE, str(model), "folder", "-o", "out", folder=tmp_path)
    assert result.returncode == 1
    assert re.fullmatch(r"\S*1\.png: found no image.*\n", result.stderr)
    assert maps_in(tmp_path / "out") == [f"{number}.png" for number in (0, 2, 3, 4)]


def test_the_folder_of_the_images_is_not_written_to(model, frames, tmp_path):
    write_folder(tmp_path / "folder", frames)
    result = run_without(BEYOND_CPU, *EXAMPLE, str(model), "folder", "-o", "folder", folder=tmp_path)
    assert result.returncode == 1
    assert "found the folder of the images" in result.stderr
    assert len(maps_in(tmp_path / "folder")) == FRAMES + 1


def test_every_second_frame_of_a_video(model, frames, tmp_path):
    write_video(tmp_path / "video.avi", frames)
    result = run_without(BEYOND_CPU, *EXAMPLE, str(model), "video.avi", "--every", "2", "-o", "out", folder=tmp_path)
    assert result.returncode == 0, result.stderr
    assert labels_and_names(result)[0] == [f"{number:05}" for number in range(FRAMES)]
    assert maps_in(tmp_path / "out") == ["00000.png", "00002.png", "00004.png"]


def test_a_source_that_cannot_be_read_is_named(model, tmp_path):
    result = run_without(BEYOND_CPU, *EXAMPLE, str(model), "missing.mp4", folder=tmp_path)
    assert result.returncode != 0
    assert "missing.mp4: found no camera, video or folder" in result.stderr


def test_a_model_that_cannot_be_read_is_one_line(tmp_path):
    (tmp_path / "text.onnx").write_text("no model")
    result = run_without(BEYOND_CPU, *EXAMPLE, "text.onnx", ".", "-o", "out", folder=tmp_path)
    assert result.returncode == 1
    assert "text.onnx" in result.stderr and len(result.stderr.splitlines()) == 1, result.stderr


@pytest.mark.parametrize("name", ["edge", "rise_http"])
def test_it_is_short_and_uses_the_public_api_only(name):
    text = (files("onnxplain.examples") / f"{name}.py").read_text(encoding="utf-8")
    assert len(text.splitlines()) <= 90
    imported = set(re.findall(r"^(?:import|from) ([\w.]+)", text, re.MULTILINE))
    assert {module for module in imported if module.startswith("onnxplain")} <= {"onnxplain", "onnxplain.explainers"}
    assert not re.findall(r"\b_\w+\(", text)
