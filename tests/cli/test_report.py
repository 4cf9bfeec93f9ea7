"""`onnxplain report`: of a folder, of several, of a model, and what it refuses."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest

from tests.cli.conftest import RunCommand
from tests.cli.process import run_without


def data_of(page: Path) -> dict[str, Any]:
    found = re.search(r'id="report-data">(.*?)</script>', page.read_text(encoding="utf-8"), re.DOTALL)
    assert found is not None
    data: dict[str, Any] = json.loads(found[1])
    return data


def methods_of(data: dict[str, Any]) -> list[list[str]]:
    return [[each["method"] for each in detail["maps"]] for detail in data["details"]]


@pytest.fixture
def folder(run: RunCommand, models: Path, images: Path, tmp_path: Path) -> Path:
    result = run("explain", models / "explainable.onnx", images, "-m", "cam", "-m", "hires-cam", "-o", tmp_path / "out")
    assert result.exit_code == 0
    return tmp_path / "out"


def test_a_report_of_a_folder(run: RunCommand, folder: Path, tmp_path: Path) -> None:
    result = run("report", folder, "-o", tmp_path / "page.html")
    assert (result.exit_code, result.stderr) == (0, "")
    assert result.stdout == f"{tmp_path / 'page.html'}: 3 images\n"
    assert methods_of(data_of(tmp_path / "page.html")) == [["cam", "hires-cam"]] * 3


def test_a_report_of_a_model_has_the_maps_of_explain(
    run: RunCommand, folder: Path, models: Path, images: Path, tmp_path: Path
) -> None:
    run("report", folder, "-o", tmp_path / "of_folder.html")
    result = run(
        "report", models / "explainable.onnx", images, "-m", "cam", "-m", "hires-cam", "-o", tmp_path / "of_model.html"
    )
    assert result.exit_code == 0
    of_folder, of_model = (data_of(tmp_path / f"of_{name}.html") for name in ("folder", "model"))
    assert of_folder["details"] == of_model["details"]
    assert of_folder["images"] == of_model["images"]


def test_options_of_explain_and_pictures_apply_to_a_model(
    run: RunCommand, models: Path, images: Path, tmp_path: Path
) -> None:
    page = tmp_path / "page.html"
    result = run(
        "report", models / "explainable.onnx", images / "a.png", "-m", "rise", "--masks", 12, "--target", "zero",
        "--target", "one", "--threshold", 0.25, "--alpha", 0.4, "-o", page,
    )  # fmt: skip
    assert result.exit_code == 0
    data = data_of(page)
    maps = data["details"][0]["maps"]
    assert [(each["method"], each["target"], each["masks"]) for each in maps] == [
        ("rise", "zero", 12),
        ("rise", "one", 12),
    ]
    assert {each["threshold"] for each in maps if each["status"] == "ok"} <= {0.25}
    assert data["alpha"] == 0.4


def test_several_folders_stand_side_by_side(run: RunCommand, folder: Path, tmp_path: Path) -> None:
    result = run("report", folder, folder, "-o", tmp_path / "page.html")
    assert result.exit_code == 0
    data = data_of(tmp_path / "page.html")
    assert data["runs"] == ["explainable.onnx (1)", "explainable.onnx (2)"]
    assert methods_of(data) == [["cam", "hires-cam"] * 2] * 3


def test_an_image_that_cannot_be_read_is_in_the_report(
    run: RunCommand, models: Path, images: Path, tmp_path: Path
) -> None:
    (images / "broken.png").write_text("no image")
    page = tmp_path / "page.html"
    result = run("report", models / "explainable.onnx", images, "-o", page)
    assert result.exit_code == 1
    assert "broken.png: found no image" in result.stderr
    assert [image["status"] for image in data_of(page)["images"]].count("unreadable") == 1


def test_what_cannot_be_reported(run: RunCommand, folder: Path, models: Path, images: Path, tmp_path: Path) -> None:
    page = tmp_path / "page.html"
    empty = tmp_path / "empty"
    empty.mkdir()
    for words, says in [
        ((empty,), "run.json: cannot be read"),
        ((folder, empty), "run.json: cannot be read"),
        ((folder, "-m", "cam"), "found --method for a folder"),
        ((folder, "--masks", 3), "found --masks for a folder"),
        ((folder, "--size", "9x9"), "found --size for a folder"),
        ((folder, "-o", images / "a.png"), "expected a file that ends in .html"),
        ((models / "explainable.onnx",), "found no IMAGE for the model"),
        ((tmp_path / "none.onnx", images), "none.onnx"),
    ]:
        result = run("report", "-o", page, *words)
        assert result.exit_code == 2, words
        assert says in result.stderr and len(result.stderr.splitlines()) == 1, result.stderr
    assert not page.exists()
    result = run("report", folder, "-o", tmp_path / "missing" / "page.html")
    assert result.exit_code == 2
    assert "expected a file in a folder that exists" in result.stderr


def test_without_the_extra_one_line_says_what_to_install(folder: Path, tmp_path: Path) -> None:
    result = run_without(("jinja2",), "-m", "onnxplain", "report", str(folder), "-o", str(tmp_path / "page.html"))
    assert result.returncode == 2
    assert result.stderr == (
        'onnxplain: jinja2: not installed, but the report needs it: run pip install "onnxplain[report]"\n'
    )
