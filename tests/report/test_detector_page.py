"""The page of a detector: its detections are its answer, and a detection that is not there is no unreadable image."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from PIL import Image

from onnxplain.cli.main import cli
from onnxplain.report.concern import agreement_of
from tests.detectors.seeing import open_suppressing, photo_of_blobs
from tests.report.folders import lines_of, write_lines
from tests.report.test_browser import browse
from tests.report.test_report import data_of

OPTIONS = ("--detector=torchvision", "--masks=70", "--scale=1/255", "--resize=stretch", "--mean=0", "--std=1")


def run(*words: object, exit_code: int = 0) -> Any:
    result = CliRunner().invoke(cli, [str(word) for word in words], prog_name="onnxplain")
    assert result.exit_code == exit_code, result.output
    return result


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """a.png has three detections, of which two are asked for, b.png has none, c.png cannot be read."""
    folder = tmp_path_factory.mktemp("detector")
    open_suppressing(folder / "model.onnx")
    Image.fromarray(photo_of_blobs()).save(folder / "a.png")
    Image.fromarray(photo_of_blobs() // 5).save(folder / "b.png")
    (folder / "c.png").write_text("no image")
    photos = [folder / f"{name}.png" for name in "abc"]
    asked = ("--target", "1", "--target", "2", "--target", "2#2")
    run("explain", folder / "model.onnx", *photos, *OPTIONS, *asked, "-o", folder / "out", exit_code=1)
    run("report", folder / "out", "-o", folder / "page.html")
    return folder


def test_what_the_page_says_of_each_image(folder: Path) -> None:
    data = data_of(folder / "page.html")
    seen = {image["name"]: image for image in data["images"]}
    assert list(seen) == ["a.png", "b.png", "c.png"]
    assert (seen["a.png"]["label"], seen["a.png"]["score_text"]) == ("1", "0.90")
    assert "models disagree" not in seen["a.png"]["concerns"]
    assert "target not found" in seen["a.png"]["concerns"]
    assert seen["b.png"]["status"] == "target not found"
    assert seen["c.png"]["status"] == "unreadable"
    details = dict(zip(seen, data["details"], strict=True))
    (answer,) = details["a.png"]["answers"]
    assert [name for name, _ in answer["rows"]] == ["1#1", "2#1", "1#2"]
    assert answer["rows"][0][1] == "0.90 at 16, 16, 32, 32"
    assert [(each["target"], each["scored"]) for each in details["a.png"]["maps"]] == [("1#1", ""), ("2#1", "")]
    assert [name for name, _ in details["a.png"]["remarks"]] == ["failed"]
    assert details["b.png"]["error"].startswith("found no detection, the best candidate has 0.1")


def test_the_page_in_chromium(folder: Path) -> None:
    (answer,) = browse({"page": str(folder / "page.html"), "size": [1200, 4000], "steps": [["maps"], ["axe"]]})
    maps, violations = answer["found"]
    assert (answer["trouble"], violations) == ([], [])
    expected = agreement_of(lines_of(folder / "out")[1])
    assert f"detection 16, 16, 32, 32, agreement {expected:.2f}" in maps[0]["caption"]


def test_a_changed_detection_is_named_by_verify(folder: Path) -> None:
    assert run("verify", folder / "out").exit_code == 0
    lines = lines_of(folder / "out")
    changed = [dict(line) for line in lines]
    first = changed[1]
    first["answers"] = [{**first["answers"][0], "detections": first["answers"][0]["detections"][:2]}]
    write_lines(folder / "out", changed)
    try:
        assert "head detections" in run("verify", folder / "out", exit_code=1).output
    finally:
        write_lines(folder / "out", lines)
