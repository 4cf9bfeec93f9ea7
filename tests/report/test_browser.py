"""The report in headless Chromium, opened from disk: what it shows, what its controls do, and what it does not load."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from collections import defaultdict
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from onnxplain.explainers.regions import find_regions
from onnxplain.explanations.verify_folder import read_run
from onnxplain.report.folder_report import report_of
from onnxplain.report.page_file import Table, write_report
from tests.report.folders import MARKUP, NAMES, lines_of, multiply

BROWSE = Path(__file__).with_name("browse.mjs")
# The folder that holds node_modules.
PLAYWRIGHT = Path(os.environ.get("PLAYWRIGHT_CORE", Path(__file__).parents[2] / "build" / "js"))
Answer = dict[str, Any]


def browse(*pages: dict[str, Any]) -> list[Answer]:
    """Open each page and do its steps. Every page has no console error, and loads only what stands beside it."""
    browser = os.environ.get("CHROMIUM") or shutil.which("chromium") or shutil.which("google-chrome")
    if shutil.which("node") is None or browser is None:
        pytest.skip("no node or no Chromium on this machine: install Debian's packages nodejs and chromium")
    if not (PLAYWRIGHT / "node_modules" / "playwright-core").is_dir():
        pytest.skip(f"no playwright-core in {PLAYWRIGHT}: run make test-report, or set PLAYWRIGHT_CORE")
    result = subprocess.run(
        ["node", str(BROWSE), str(PLAYWRIGHT), browser, json.dumps(pages)],
        capture_output=True,
        text=True,
        check=False,
        timeout=400,
    )
    assert result.returncode == 0, result.stderr
    answers: list[Answer] = json.loads(result.stdout)
    for page, answer in zip(pages, answers, strict=True):
        folder = Path(page["page"]).parent.as_uri()
        assert all(url.startswith(folder + "/") for url in answer["requests"]), answer["requests"]
    return answers


@pytest.fixture(scope="module")
def page(written: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("page") / "report.html"
    findings = [Table(title, ("name", "found"), [("one", MARKUP), ("two", "2")]) for title in ("First", "Second")]
    write_report(report_of([read_run(written)], findings=findings), path)
    return path


def boxes_of(answer: list[dict[str, Any]]) -> dict[tuple[str, str], list[list[float]]]:
    return {(each["card"], each["method"]): sorted(each["boxes"]) for each in answer}


def expected_boxes(folder: Path, target: str, threshold: float | None) -> dict[tuple[str, str], list[list[float]]]:
    """Python's boxes of every map for a target that has heat; None: as the line says."""
    found = {}
    for line in lines_of(folder):
        if "error" in line or line["status"] != "ok":
            continue
        if line["label"] == target or (not line["uses_target"] and line["label"] == "four"):
            heat = np.load(folder / line["heatmap"])
            regions = find_regions(heat, line["level"] if threshold is None else threshold)
            found[Path(line["image"]).name, line["method"]] = sorted(regions.xyxy.tolist())
    return found


def test_boxes_are_pythons_and_follow_the_slider_and_the_target(page: Path, written: Path) -> None:
    (answer,) = browse(
        {
            "page": str(page),
            # High enough that every image is in view.
            "size": [1200, 5000],
            "steps": [
                ["maps"],
                ["press", "#threshold", "ArrowRight", 20],
                ["maps"],
                ["text", "#threshold-value"],
                ["tick", "#own-threshold", True],
                ["choose", "#target-1", MARKUP],
                ["maps"],
            ],
        }
    )
    assert answer["trouble"] == []
    own, _, at_35, text, _, _, other = answer["found"]
    assert boxes_of(own) == expected_boxes(written, "four", None)
    assert text == "35 %"
    assert boxes_of(at_35) == expected_boxes(written, "four", 0.35)
    assert boxes_of(at_35) != boxes_of(own)
    second = expected_boxes(written, MARKUP, None)
    switched = {key: boxes for key, boxes in boxes_of(other).items() if key[0] == NAMES[1]}
    assert switched == {key: boxes for key, boxes in second.items() if key[0] == NAMES[1]}
    assert len(switched) == 3
    alts = [each["alt"] for each in own]
    assert all(alt.startswith("Heatmap of ") and "largest region" in alt for alt in alts)


def test_names_and_labels_with_markup_stay_text(page: Path) -> None:
    (answer,) = browse({"page": str(page), "size": [1200, 5000], "steps": [["cards"], ["count", "#cards img[src=x]"]]})
    assert answer["trouble"] == []
    cards, images = answer["found"]
    assert {card["name"] for card in cards} == {*NAMES, "broken.png"}
    assert images == 0
    assert any(MARKUP in card["body"] for card in cards)


def test_opacity_zero_leaves_the_photo_alone(page: Path) -> None:
    steps = [["tick", "#show-boxes", False], ["ink"], ["press", "#opacity", "Home"], ["ink"], ["value", "#opacity"]]
    (answer,) = browse({"page": str(page), "size": [1200, 5000], "steps": steps})
    _, before, _, after, value = answer["found"]
    assert value == "0"
    assert min(before) > 0
    assert set(after) == {0}


def test_sort_and_filter(page: Path) -> None:
    steps = [
        ["cards"],
        ["choose", "#sort", "name"],
        ["cards"],
        ["fill", "#search", "PLAIN"],
        ["cards"],
        ["text", "#shown"],
        ["click", "#reset"],
        ["choose", "#status", "unreadable"],
        ["cards"],
        ["click", "#reset"],
        ["fill", "#most-score", "0"],
        ["text", "#shown"],
    ]
    (answer,) = browse({"page": str(page), "steps": steps})
    assert answer["trouble"] == []
    first, _, by_name, _, found, shown, _, _, unreadable, _, _, none = answer["found"]
    # What cannot be read stands first.
    assert first[0]["name"] == "broken.png" and "no image" not in first[0]["head"]
    assert [card["name"] for card in by_name][1:] == [NAMES[0], NAMES[1], NAMES[2]] or len(by_name) == 4
    assert [card["name"] for card in found] == ["plain.png"]
    assert shown == "1 of 4 images shown"
    assert [card["name"] for card in unreadable] == ["broken.png"]
    assert none == "0 of 4 images shown"


def test_a_phone_needs_no_sideways_scrolling_in_light_and_dark(page: Path) -> None:
    answers = browse(
        *(
            {"page": str(page), "scheme": scheme, "size": [360, 740], "steps": [["wide"]]}
            for scheme in ("light", "dark")
        )
    )
    assert [answer["found"] for answer in answers] == [[0], [0]]


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_axe_finds_nothing(scheme: str, page: Path) -> None:
    if not (PLAYWRIGHT / "node_modules" / "axe-core").is_dir():
        pytest.skip(f"no axe-core in {PLAYWRIGHT}: run make test-report")
    (answer,) = browse({"page": str(page), "scheme": scheme, "size": [1200, 5000], "steps": [["axe"]]})
    assert answer["found"] == [[]]


def test_of_many_images_only_those_in_view_are_loaded_and_a_missing_file_is_named(
    written: Path, tmp_path: Path
) -> None:
    folder = multiply(written, tmp_path / "many", 1000)
    path = tmp_path / "a report #1?.html"
    write_report(report_of([read_run(folder)]), path)
    gone = tmp_path / "a report #1?_files" / "00000.js"
    gone.unlink()
    alone = tmp_path / "alone" / path.name
    alone.parent.mkdir()
    alone.write_bytes(path.read_bytes())
    steps = [["cards"], ["choose", "#sort", "highest"], ["end"], ["cards"]]
    answer, without = browse({"page": str(path), "steps": steps}, {"page": str(alone), "steps": [["cards"]]})
    # Names and answers of all images stand in the page, before any file beside it is loaded.
    (seen,) = without["found"]
    assert len(seen) == 1000 and all("three · " in card["head"] for card in seen)
    before, _, _, after = answer["found"]
    # The lowest score stands first; its file is missing.
    assert before[0]["name"] == "0.png" and "00000.js: missing" in before[0]["body"]
    loaded = sum(card["shown"] for card in before)
    assert 3 < loaded < 40
    assert sum(card["shown"] for card in after) > loaded
    counts: dict[str, int] = defaultdict(int)
    for url in answer["requests"]:
        counts[url] += 1
    assert set(counts.values()) == {1}
    assert [text for text in answer["trouble"] if "00000.js" not in text and "ERR_FILE_NOT_FOUND" not in text] == []
