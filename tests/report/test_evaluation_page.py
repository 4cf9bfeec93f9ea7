"""The page of `evaluate --report`: numbers, curves, the lowest images with their true boxes, and what it refuses."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from click.testing import CliRunner

from onnxplain.cli.main import cli
from onnxplain.demo import MODEL
from onnxplain.report.evaluation_images import lowest_rows
from tests.evaluation.blue_and_red import write_model
from tests.exporters.heads.graph_ends import end_model
from tests.report.test_browser import browse
from tests.report.test_report import data_of
from tests.training.shapes import write_shapes

METHODS = ("-m", "grad-cam", "-m", "eigen-cam")


def run(*words: object, exit_code: int = 0) -> Any:
    result = CliRunner().invoke(cli, [str(word) for word in words], prog_name="onnxplain")
    assert result.exit_code == exit_code, result.output
    return result


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """model.onnx sees blue and red; of seven photos the last cannot be read. page.html shows the four lowest."""
    folder = tmp_path_factory.mktemp("evaluated")
    write_model(folder / "model.onnx")
    table = write_shapes(folder / "data", 7)
    last = sorted(Path(table).parent.rglob("*.png"))[-1]
    content = last.read_bytes()
    last.write_bytes(content[: len(content) // 2])
    asked = ("evaluate", folder / "model.onnx", table, "-o", folder / "out", *METHODS, "--metrics", "all")
    run(*asked, "--report", folder / "page.html", "--report-images", 4)
    return folder


def rows_of(folder: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (folder / "out" / "images.jsonl").read_text().splitlines()]


def test_the_lowest_images_are_shown_with_what_was_measured(folder: Path) -> None:
    data, rows = data_of(folder / "page.html"), rows_of(folder)
    measured = [row for row in rows if "problem" not in row]
    assert len(measured) == 6
    lowest = sorted(measured, key=lambda row: min(each["iou"] for each in row["methods"].values()))[:4]
    assert {image["name"] for image in data["images"]} == {f"{row['image']}.png" for row in lowest}
    for detail in data["details"]:
        shown = dict(detail["remarks"])
        row = next(row for row in rows if row["image"] == shown["image"])
        assert shown["label"] == row["label"]
        for method in ("grad-cam", "eigen-cam"):
            assert f"mean IoU {row['methods'][method]['iou']:.2f}" in shown[method]
            assert f"pointing {'yes' if row['methods'][method]['pointing'] else 'no'}" in shown[method]
        assert len(detail["truth"]) == 1 and len(detail["truth"][0]) == 4
        assert {each["method"] for each in detail["maps"]} == {"grad-cam", "eigen-cam"}
        # The model is right, so one target is explained.
        assert len({each["target"] for each in detail["maps"]}) == 1
        for plot, name in zip(detail["plots"], ("insertion", "deletion"), strict=True):
            assert (plot["title"], plot["peak"]) == (name, False)
            for line in plot["lines"]:
                np.testing.assert_allclose(line["values"], row["methods"][line["name"]][f"{name}_curve"], atol=1e-4)


def test_the_page_has_the_numbers_the_curves_and_what_was_left_out(folder: Path) -> None:
    data, text = data_of(folder / "page.html"), (folder / "page.html").read_text(encoding="utf-8")
    summary = json.loads((folder / "out" / "summary.json").read_text())
    low, high = summary["intervals"]["methods"]["grad-cam"]["mean_iou"]
    assert f"{summary['methods']['grad-cam']['mean_iou']:.3f} [{low:.3f}, {high:.3f}]" in text
    assert "6 images, 1 left out; the 4 with the lowest values are below" in text
    assert "What the numbers mean" in text and "Left out" in text
    titles = [plot["title"] for plot in data["plots"]]
    assert titles == [
        "MaxBoxAcc", "MaxBoxAccV2, IoU ≥ 0.3", "MaxBoxAccV2, IoU ≥ 0.5", "MaxBoxAccV2, IoU ≥ 0.7", "insertion",
        "deletion",
    ]  # fmt: skip
    first = data["plots"][0]
    assert [line["name"] for line in first["lines"]] == ["grad-cam", "eigen-cam", "centre Gaussian"]
    for line in first["lines"]:
        assert len(line["values"]) == len(line["low"]) == len(line["high"]) == 255
        assert max(line["values"]) <= max(line["high"]) <= 1
    assert max(first["lines"][0]["values"]) == pytest.approx(summary["methods"]["grad-cam"]["maxboxacc"], abs=1e-4)


def test_the_page_in_chromium(folder: Path) -> None:
    page = {"page": str(folder / "page.html"), "size": [1200, 6000]}
    steps = [["maps"], ["count", "#plots svg[role=img]"], ["count", ".body .plots svg[role=img]"],
             ["alt", "#plots svg[role=img]"], ["axe"]]  # fmt: skip
    light, dark, phone = browse(
        {**page, "steps": steps},
        {**page, "scheme": "dark", "steps": steps},
        {**page, "size": [360, 740], "steps": [["wide"]]},
    )
    assert phone["found"] == [0]
    for answer in (light, dark):
        maps, plots, curves, alt, violations = answer["found"]
        assert (answer["trouble"], violations) == ([], [])
        assert (len(maps), plots, curves) == (8, 6, 8)
        assert alt.startswith("MaxBoxAcc: share of images where a box fits over threshold. grad-cam: at most ")
        assert all("IoU with the true box (green)" in each["caption"] for each in maps)
    rows = {row["image"]: row for row in rows_of(folder) if "problem" not in row}
    for each in light["found"][0]:
        iou = rows[Path(each["card"]).stem]["methods"][each["method"]]["iou"]
        assert f"IoU with the true box (green) {iou:.2f}" in each["caption"]


def test_a_complete_folder_gets_its_page_without_being_measured_again(folder: Path, tmp_path: Path) -> None:
    before = (folder / "out" / "images.jsonl").read_bytes()
    asked = ("evaluate", folder / "model.onnx", folder / "data" / "boxes.csv", "-o", folder / "out", *METHODS)
    result = run(*asked, "--metrics", "all", "--report", tmp_path / "again.html", "--report-images", 1)
    assert "7 of 7 images were measured before" in result.stderr
    assert result.stdout.endswith(f"Report: {tmp_path / 'again.html'}\n")
    assert len(data_of(tmp_path / "again.html")["images"]) == 1
    assert (folder / "out" / "images.jsonl").read_bytes() == before


def test_generated_images_are_in_the_page_too(tmp_path: Path) -> None:
    page = tmp_path / "digits.html"
    run("evaluate", MODEL, "digits", "--limit", 3, "-m", "cam", "-o", tmp_path / "out", "--report", page, "--json")
    data = data_of(page)
    assert len(data["images"]) == 3
    assert all(detail["photo"] and detail["truth"] for detail in data["details"])
    assert all(detail["plots"] == [] for detail in data["details"])


def test_without_images_or_maps_the_numbers_are_shown(folder: Path, tmp_path: Path) -> None:
    page, data = tmp_path / "page.html", folder / "data" / "boxes.csv"
    saved = ("--save-heatmaps", tmp_path / "maps")
    run("evaluate", folder / "model.onnx", data, "-o", tmp_path / "one", "-m", "grad-cam", *saved, "--report", page,
        "--report-images", 0)  # fmt: skip
    assert data_of(page)["images"] == [] and len(data_of(page)["plots"]) == 4
    other = ("--heatmaps", f"other={tmp_path / 'maps' / 'grad-cam'}")
    run("evaluate", folder / "model.onnx", data, "-o", tmp_path / "two", *other, "--report", page)
    assert data_of(page)["images"] == []
    assert [line["name"] for line in data_of(page)["plots"][0]["lines"]] == ["other", "centre Gaussian"]


def test_a_photo_that_is_gone_since_it_was_measured_is_named(folder: Path, tmp_path: Path) -> None:
    table = write_shapes(tmp_path / "data", 2)
    asked = ("evaluate", folder / "model.onnx", table, "-o", tmp_path / "out", "-m", "grad-cam", "--report")
    run(*asked, tmp_path / "one.html")
    photo = sorted(Path(table).parent.rglob("*.png"))[0]
    content = photo.read_bytes()
    # The header stays, and the length, by which a data set is recognised.
    photo.write_bytes(content[:100] + bytes(len(content) - 100))
    run(*asked, tmp_path / "two.html")
    data = data_of(tmp_path / "two.html")
    assert [image["status"] for image in data["images"]].count("unreadable") == 1


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (("--report", "page.png"), "ends in .html"),
        (("--report-images", -1), "-1"),
        (("--report", "none/p.html"), "expected a file in a folder that exists: create"),
    ],
)
def test_what_is_refused(words: tuple[object, ...], says: str, folder: Path, tmp_path: Path) -> None:
    words = tuple(tmp_path / word if word == "none/p.html" else word for word in words)
    asked = ("evaluate", folder / "model.onnx", folder / "data" / "boxes.csv", "-o", tmp_path / "out", *METHODS)
    assert says in run(*asked, *words, exit_code=2).stderr.splitlines()[-1]
    assert not (tmp_path / "out").exists()


def test_where_only_answers_are_measured_there_is_no_page(folder: Path, tmp_path: Path) -> None:
    """A head of labels without -m, and numbers."""
    onnx.save(end_model("p = Sigmoid(y)", "float[N, 6] p"), tmp_path / "labels.onnx")
    onnx.save(end_model("p = MatMul(means, one)", "float[N, 1] p"), tmp_path / "number.onnx")
    for name, says in (("labels", "name a method with -m"), ("number", "numbers have none to measure")):
        asked = ("evaluate", tmp_path / f"{name}.onnx", folder / "data" / "boxes.csv", "-o", tmp_path / "out")
        error = run(*asked, "--report", tmp_path / "page.html", exit_code=2).stderr.splitlines()[-1]
        assert says in error
        assert not (tmp_path / "page.html").exists()


def test_which_images_are_lowest() -> None:
    def row(index: int, right: bool | None, **values: float) -> dict[str, Any]:
        return {"index": index, "score": 0.5, "classification": {"top1": right}, "methods": {"cam": values}}

    rows = [
        row(0, True, iou=0.1),
        row(1, False, iou=0.9),
        {"index": 2, "problem": {}},
        row(3, True, iou=0.05, insertion=0.0),
        row(4, True, iou=0.8),
    ]
    assert [each["index"] for each in lowest_rows(rows, 3)] == [0, 1, 3]
    assert [each["index"] for each in lowest_rows(rows, 1)] == [1]
    # Without true boxes the insertion decides, without both the score.
    rows = [row(0, None, insertion=0.9), row(1, None, insertion=0.2), row(2, None)]
    assert [each["index"] for each in lowest_rows(rows, 2)] == [1, 2]
