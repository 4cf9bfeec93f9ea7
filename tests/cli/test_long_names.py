"""The longest names that a file system takes, as images and as labels: results get shorter ones, each its own."""

from __future__ import annotations

import json
from pathlib import Path

import onnx
import pytest

from onnxplain.contract import METADATA_KEY
from onnxplain.demo import IMAGES, MODEL
from onnxplain.explanations.explanation_folder import RESULTS_FILE
from tests.cli.conftest import RunCommand


@pytest.mark.parametrize("character", ["n", "ü", "漢"])
def test_results_of_images_with_the_longest_names(character: str, tmp_path: Path, run: RunCommand) -> None:
    content = next(iter(sorted(IMAGES.glob("*.png")))).read_bytes()
    size = len(character.encode())
    photos = [tmp_path / f"{character * (250 // size)}{last}.png" for last in "ab"]
    for photo in photos:
        photo.write_bytes(content)
    out = tmp_path / "out"
    result = run("explain", MODEL, *photos, "-m", "cam", "-m", "grad-cam", "--target", "0", "--target", "1", "-o", out)
    assert result.exit_code == 0, result.stderr
    lines = [json.loads(line) for line in (out / RESULTS_FILE).read_text(encoding="utf-8").splitlines()]
    assert len(lines) == 8
    assert len({line[key] for line in lines for key in ("heatmap", "raw", "overlay")}) == 24
    assert all((out / line[key]).is_file() for line in lines for key in ("heatmap", "raw", "overlay"))
    assert len(list(out.glob("*.sheet*.png"))) == 2


def test_labels_too_long_for_a_name(tmp_path: Path, run: RunCommand) -> None:
    model = onnx.load(MODEL)
    for entry in model.metadata_props:
        if entry.key == METADATA_KEY:
            tree = json.loads(entry.value)
            tree["labels"] = [f"{'l' * 300}{number}" for number in range(len(tree["labels"]))]
            entry.value = json.dumps(tree)
    onnx.save(model, tmp_path / "model.onnx")
    photo = next(iter(sorted(IMAGES.glob("*.png"))))
    out = tmp_path / "out"
    words = ["explain", tmp_path / "model.onnx", photo, "-m", "cam", "-o", out]
    result = run(*words, "--target", "l" * 300 + "0", "--target", "l" * 300 + "1")
    assert result.exit_code == 0, result.stderr
    assert len(list(out.glob("*.raw.npy"))) == 2
