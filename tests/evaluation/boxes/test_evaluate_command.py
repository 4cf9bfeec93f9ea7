"""`evaluate` of a detector: what is printed and written, and the options that it does not take."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.evaluation.boxes.seen import LABELS, box_of, open_cells, write_coco

pytest.importorskip("supervision", reason="needs the metrics extra")

IMAGES = [({7: 0.9, 12: 0.6}, [("left", box_of(7)), ("left", box_of(12))]), ({4: 0.9}, [("right", box_of(4))])]


@pytest.fixture
def asked(tmp_path: Path) -> list[object]:
    """The words of an evaluation of a plain file."""
    return words_for(tmp_path, IMAGES)


def words_for(tmp_path: Path, images) -> list[object]:
    open_cells(tmp_path / "model.onnx")
    coco = write_coco(tmp_path / "coco", images)
    (tmp_path / "labels.txt").write_text("\n".join(LABELS))
    words = ["evaluate", tmp_path / "model.onnx", coco, "-o", tmp_path / "out", "--masks", 64]
    return [
        *words,
        "--detector",
        "end2end",
        "--preset",
        "unit",
        "--resize",
        "stretch",
        "--labels",
        f"{tmp_path}/labels.txt",
    ]


def test_a_table_of_the_boxes_and_their_maps(run, asked, tmp_path: Path) -> None:
    """Without -m, the method is the one that `explain` would choose."""
    result = run(*asked, "--metrics", "all")
    assert result.exit_code == 0
    assert "explained with rise, because the file cannot be instrumented" in result.stderr
    assert result.stderr.count("\n") == 1
    lines = result.stdout.splitlines()
    assert lines[0].endswith("coco: 2 images")
    for column in ("model", "rise", "Gaussian in the box"):
        assert column in lines[2]
    rows = {line.split("  ")[0]: line for line in lines}
    assert rows["mAP %"].split()[2] == "100.0"
    assert rows["recall %"].split()[2:5] == ["100.0", "[100.0,", "100.0]"]
    for title in (
        "mAP at 0.50 %",
        "precision %",
        "pointing %",
        "energy %",
        "energy in others %",
        "insertion",
        "deletion",
    ):
        assert title in rows
    assert "strongly blurred input" in result.stdout
    summary = json.loads((tmp_path / "out" / "summary.json").read_text())
    assert json.loads(run(*asked, "--metrics", "all", "--json").stdout) == summary
    assert summary["run"]["min_score"] == 0.25


def test_it_continues_and_refuses_other_thresholds(run, asked) -> None:
    assert run(*asked).exit_code == 0
    assert "continued, 2 of 2 images were measured before" in run(*asked).stderr
    result = run(*asked, "--min-score", 0.7)
    assert (result.exit_code, "min_score" in result.stderr) == (2, True)


def test_thresholds_decide_what_is_found(run, asked) -> None:
    tree = json.loads(run(*asked, "--min-score", 0.7, "--json").stdout)
    assert tree["detection"]["recall"] == pytest.approx(2 / 3)
    assert tree["detection"]["mean_average_precision"] == pytest.approx(1)


@pytest.mark.parametrize(
    "words",
    [
        ["--target", "predicted"],
        ["--sanity", "other.onnx"],
        ["--heatmaps", "other=folder"],
        ["--save-heatmaps", "folder"],
        ["--train-split", "train"],
        ["--mosaics", 4],
        ["--column", "age"],
        ["-m", "grad-cam"],
    ],
)
def test_options_that_mean_nothing_for_boxes(run, tmp_path: Path, words: list[object]) -> None:
    result = run(*words_for(tmp_path, 5 * IMAGES), *words)
    assert result.exit_code == 2
    assert str(words[0] if words[0] != "-m" else words[1]) in result.stderr
    assert "found" in result.stderr
