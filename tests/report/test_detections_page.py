"""The page of `evaluate --report` for a detector: the images with most faults, their true boxes and detections."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from onnxplain.cli.main import cli
from onnxplain.report.detection_images import worst_rows
from tests.evaluation.boxes.seen import box_of
from tests.evaluation.boxes.test_evaluate_command import words_for
from tests.report.test_report import data_of

pytest.importorskip("supervision", reason="needs the metrics extra")

IMAGES = [
    # All right; one missed and one wrong; nothing detected; one wrong.
    ({7: 0.9, 12: 0.6}, [("left", box_of(7)), ("left", box_of(12))]),
    ({4: 0.9, 6: 0.8}, [("right", box_of(4)), ("right", box_of(15))]),
    ({9: 0.1}, [("left", box_of(9))]),
    ({4: 0.7, 7: 0.5}, [("left", box_of(7))]),
]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("detections")
    words = [*words_for(folder, IMAGES), "--report", folder / "page.html", "--report-images", 3]
    result = CliRunner().invoke(cli, [str(word) for word in words], prog_name="onnxplain")
    assert result.exit_code == 0, result.output
    return folder


def test_the_images_with_most_faults_are_shown(folder: Path) -> None:
    data = data_of(folder / "page.html")
    assert [image["name"] for image in data["images"]] == ["1.png", "2.png", "3.png"]
    assert data["images"][1]["status"] == "target not found"
    detail = data["details"][0]
    assert detail["truth"] == [box_of(4), box_of(15)]
    (answer,) = detail["answers"]
    assert [name for name, _ in answer["rows"]] == ["right#1", "left#1"]
    assert [each["target"] for each in detail["maps"]] == ["right#1", "left#1"]
    assert {each["method"] for each in detail["maps"]} == {"rise"}
    assert "wrong answer" in data["images"][0]["concerns"]


def test_what_was_measured_of_each_box(folder: Path) -> None:
    remarks = data_of(folder / "page.html")["details"][0]["remarks"]
    shown = dict(remarks)
    assert (shown["true boxes"], shown["wrong detections"]) == ("2, 1 found", "1")
    assert ("right", "found, 0.90") in map(tuple, remarks)
    assert ("right", "missed") in map(tuple, remarks)
    assert shown["left"] == "wrong, 0.80"
    assert shown["right: rise"].startswith("pointing ")


def row(index: int, *boxes: tuple[bool | None, bool | None, float | None]) -> dict[str, Any]:
    """Per box: is it found, is the detection right, the energy of its map."""
    listed = []
    for is_found, is_right, energy in boxes:
        listed.append({"detection": {"recall": is_found, "precision": is_right}})
        if energy is not None:
            listed[-1]["methods"] = {"rise": {"energy": energy}}
    return {"index": index, "boxes": listed}


def test_faults_count_before_energy() -> None:
    rows = [
        row(0, (True, True, 0.9)),
        row(1, (False, None, None)),
        row(2, (True, True, 0.1), (True, True, 0.8)),
        row(3, (None, False, None), (False, None, None)),
        {"index": 4, "problem": {}},
        row(5),
    ]
    chosen = [[each["index"] for each in worst_rows(rows, count)] for count in (0, 1, 2, 3, 9)]
    assert chosen == [[], [3], [1, 3], [1, 2, 3], [0, 1, 2, 3, 5]]
