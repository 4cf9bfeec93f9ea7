"""`onnxplain verify`: its three exit statuses. What it finds is tested in tests/explanations/test_verify_folder.py."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.cli.conftest import RunCommand, write_photo


@pytest.fixture
def folder(run: RunCommand, models: Path, images: Path, tmp_path: Path) -> Path:
    result = run("explain", models / "explainable.onnx", images / "a.png", "-m", "hires-cam", "-o", tmp_path / "out")
    assert result.exit_code == 0
    return tmp_path / "out"


def test_the_same(run: RunCommand, folder: Path) -> None:
    result = run("verify", folder)
    assert (result.exit_code, result.stdout) == (0, f"{folder}: 1 map is the same, bit for bit\n")


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


def test_files_that_options_name_are_found_again(
    run: RunCommand, models: Path, images: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another image as fill, and a label map: the record names them as seen from its folder."""
    photo, out = images / "a.png", tmp_path / "out"
    with Image.open(photo) as picture:
        width, height = picture.size
    np.save(tmp_path / "labels.npy", np.arange(height * width).reshape(height, width) * 4 // (height * width))
    Image.new("RGB", (9, 9), (200, 10, 10)).save(tmp_path / "red.png")
    monkeypatch.chdir(tmp_path)
    words = ("-m", "shap", "--players", "labels.npy", "--fill", tmp_path / "red.png", "-o", out)
    assert run("explain", models / "explainable.onnx", photo, *words).exit_code == 0
    (question,) = json.loads((out / "run.json").read_text())["questions"]
    assert question["options"] == {"players": "../labels.npy", "fill": "../red.png"}
    monkeypatch.chdir(images)
    assert run("verify", out).exit_code == 0


@pytest.mark.parametrize("method", ["grad-cam", "rise"])
def test_copies_of_the_image_are_made_again(
    run: RunCommand, models: Path, images: Path, tmp_path: Path, method: str
) -> None:
    words = (
        "-m",
        method,
        "--test-time",
        "flips,0.8",
        "-o",
        tmp_path,
        *(("--evaluations", "80") if method == "rise" else ()),
    )
    result = run("explain", models / "explainable.onnx", images / "a.png", *words)
    assert result.exit_code == 0
    assert "mean of 4 copies" in result.stdout
    (question,) = json.loads((tmp_path / "run.json").read_text())["questions"]
    assert question["options"]["test_time"] == "flips,0.8"
    line = json.loads((tmp_path / "explanations.jsonl").read_text())
    assert line["test_time"]["copies"] == ["image", "mirrored", "scale 0.8", "mirrored, scale 0.8"]
    assert line["evaluations"] == (80 if method == "rise" else 4)
    assert run("verify", tmp_path).exit_code == 0


@pytest.mark.parametrize(
    ("words", "change", "exit_status", "said"),
    [
        (
            ("rise", "--evaluations", "80"),
            1e-7,
            0,
            ("found by timing", "0 maps are the same, bit for bit; 1 up to"),
        ),
        (("rise", "--evaluations", "80"), 1e-3, 1, ("rise: found values up to",)),
        (("rise", "--evaluations", "80", "--batch-size", "4"), 1e-7, 1, ("rise: found values up to",)),
        (("hires-cam",), 1e-7, 1, ("hires-cam: found values up to",)),
    ],
)
def test_last_digits_count_only_where_the_batch_size_is_stated(
    run: RunCommand,
    models: Path,
    images: Path,
    tmp_path: Path,
    words: tuple[str, ...],
    change: float,
    exit_status: int,
    said: tuple[str, ...],
) -> None:
    assert run("explain", models / "explainable.onnx", images / "a.png", "-m", *words, "-o", tmp_path).exit_code == 0
    (path,) = tmp_path.glob("*.raw.npy")
    raw = np.load(path)
    raw.flat[np.abs(raw).argmax()] *= 1 + change
    np.save(path, raw)
    result = run("verify", tmp_path)
    assert result.exit_code == exit_status
    assert all(part in result.stdout for part in said), result.stdout
    tree = json.loads(run("verify", tmp_path, "--json").stdout)
    assert [len(tree["differences"]), len(tree["last_digits"])] == [exit_status, 1 - exit_status]
