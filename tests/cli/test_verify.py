"""`onnxplain verify`: its three exit statuses. What it finds is tested in tests/explanations/test_verify_folder.py."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.cli.conftest import RunCommand, write_photo


@pytest.fixture
def folder(run: RunCommand, models: Path, images: Path, tmp_path: Path) -> Path:
    result = run("explain", models / "explainable.onnx", images / "a.png", "-m", "hires-cam", "-o", tmp_path / "out")
    assert result.exit_code == 0
    return tmp_path / "out"


def test_the_same(run: RunCommand, folder: Path) -> None:
    result = run("verify", folder)
    assert (result.exit_code, result.stdout) == (0, f"{folder}: 1 maps are the same, bit for bit\n")


def test_a_difference_is_1_as_text_and_as_json(run: RunCommand, folder: Path, images: Path) -> None:
    write_photo(images / "a.png", seed=9)
    result = run("verify", folder)
    assert result.exit_code == 1
    assert "a.png: found SHA-256" in result.stdout
    result = run("verify", folder, "--json")
    assert result.exit_code == 1
    assert json.loads(result.stdout)["differences"][0]["kind"] == "image"


def test_a_folder_that_cannot_be_repeated_is_2(run: RunCommand, tmp_path: Path) -> None:
    result = run("verify", tmp_path)
    assert result.exit_code == 2
    assert "run.json: cannot be read" in result.stderr
