"""What the page holds, how large it is, and what is said of folders that are not as they were."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from onnxplain.errors import OnnxplainError
from onnxplain.explainers.drawing.explained import LARGEST_ERROR
from onnxplain.explanations.verify_folder import read_run
from onnxplain.report import concern as concerns
from onnxplain.report.folder_report import report_of
from onnxplain.report.page_file import MOST_EMBEDDED, write_report
from onnxplain.report.photo import LONGEST_SIDE, read_photo
from onnxplain.report.report_images import plan_images
from tests.report.folders import MARKUP, NAMES, lines_of, multiply, noisy_photo, write_lines


def data_of(page: Path) -> dict[str, Any]:
    """What the page's scripts get."""
    text = page.read_text(encoding="utf-8")
    found = re.search(r'<script type="application/json" id="report-data">(.*?)</script>', text, re.DOTALL)
    assert found is not None
    data: dict[str, Any] = json.loads(found[1])
    return data


def page_of(*folders: Path) -> dict[str, Any]:
    path = folders[0] / "report.html"
    write_report(report_of([read_run(folder) for folder in folders]), path)
    return data_of(path)


def entry_of(data: dict[str, Any], name: str) -> dict[str, Any]:
    entry: dict[str, Any] = next(image for image in data["images"] if image["name"] == name)
    return entry


def test_everything_of_the_lines_is_in_the_page(written: Path, tmp_path: Path) -> None:
    path = tmp_path / "report.html"
    assert write_report(report_of([read_run(written)]), path) == (path,)
    data = data_of(path)
    assert [image["name"] for image in data["images"]] == [*NAMES, "broken.png"]
    assert data["runs"] == ["model.onnx"]
    lines = [line for line in lines_of(written) if line["image"].endswith("plain.png")]
    detail = data["details"][1]
    assert [each["method"] for each in detail["maps"]] == [line["method"] for line in lines]
    for each, line in zip(detail["maps"], lines, strict=True):
        assert {key: each[key] for key in ("status", "score", "layer", "unit", "frame", "evaluations", "box")} == {
            key: line[key] for key in ("status", "score", "layer", "unit", "frame", "evaluations", "box")
        }
        assert (each["code"] is None) == (line["status"] != "ok")
    assert [name for name, _ in detail["answers"][0]["rows"]] == [each["label"] for each in lines[0]["top"]]
    assert "found no image" in data["details"][3]["error"]


def test_markup_in_names_and_labels_is_text_in_the_file_too(written: Path, tmp_path: Path) -> None:
    path = tmp_path / "report.html"
    write_report(report_of([read_run(written)], title=MARKUP), path)
    text = path.read_text(encoding="utf-8")
    assert "<script>alert" not in text
    assert "<img src=x" not in text
    assert len(re.findall(r"<script[ >]", text)) == 4
    assert "{{ 7*7 }}" in data_of(path)["images"][2]["name"]


def test_nothing_in_the_page_names_a_network(written: Path, tmp_path: Path) -> None:
    path = tmp_path / "report.html"
    write_report(report_of([read_run(written)]), path)
    text = path.read_text(encoding="utf-8")
    assert not re.findall(r"(?:src|href)=\"(?!#|data:)", text)
    policy = re.search(r'Content-Security-Policy" content="([^"]+)"', text)
    assert policy is not None
    assert policy[1].startswith("default-src &#39;none&#39;; script-src &#39;sha256-")
    assert "unsafe" not in policy[1]
    assert "https:" not in text.replace("https://json-schema.org", "")


def test_of_many_images_the_page_is_small_and_the_rest_is_beside_it(written: Path, tmp_path: Path) -> None:
    few, many = MOST_EMBEDDED + 10, 4 * MOST_EMBEDDED
    folder = multiply(written, tmp_path / "many", many)
    path = tmp_path / "report.html"
    stale = tmp_path / "report_files" / "09999.js"
    stale.parent.mkdir()
    stale.write_text("of an earlier report")
    (stale.parent / "notes.txt").write_text("of the user")
    files = write_report(report_of([read_run(folder)]), path)
    size = path.stat().st_size
    assert data_of(path)["details"] == []
    assert sorted(file.name for file in stale.parent.iterdir()) == sorted(
        [*(f"{number:05}.js" for number in range(many)), "notes.txt"]
    )
    assert len(files) == 1 + many
    text = (stale.parent / "00007.js").read_text(encoding="ascii")
    assert text.startswith('onnxplainReceive(7, {"size_hw":')
    write_report(report_of([read_run(multiply(written, tmp_path / "few", few))]), path)
    per_image = (size - path.stat().st_size) / (many - few)
    assert path.stat().st_size + (1000 - few) * per_image < 400_000


def test_twenty_photos_stay_under_three_megabytes(written: Path, tmp_path: Path) -> None:
    """Photos of 1,200 × 900 with two maps each, one of them of the input's size."""
    from onnxplain.explanations.run_record import hash_of
    from onnxplain.runtime.geometry import make_frame

    size_hw = (900, 1200)
    frame = {**vars(make_frame(size_hw, (224, 224), "crop"))}
    shutil.copytree(written, tmp_path / "out")
    first, second = (
        next(line for line in lines_of(written) if line.get("method") == method) for method in ("grad-cam", "rise")
    )
    rng = np.random.default_rng(0)
    lines = []
    for number in range(20):
        photo = tmp_path / f"{number}.jpg"
        if number < 4:
            noisy_photo(photo, size_hw, number)
        else:
            photo.hardlink_to(tmp_path / f"{number % 4}.jpg")
        coarse = rng.random((8, 8)).astype(np.float32)
        np.save(tmp_path / "out" / f"{number}.cam.npy", coarse[:7, :7])
        smooth = make_frame((224, 224), (8, 8), "stretch").map_to_image(coarse)
        np.save(tmp_path / "out" / f"{number}.rise.npy", smooth)
        common = {
            "image": f"../{photo.name}", "image_sha256": hash_of(photo), "image_size_hw": size_hw, "frame": frame,
            "status": "ok", "map_frame": None,
        }  # fmt: skip
        lines += [
            {**first, **common, "raw": f"{number}.cam.npy"},
            {**second, **common, "raw": f"{number}.rise.npy"},
        ]
    write_lines(tmp_path / "out", lines)
    path = tmp_path / "report.html"
    write_report(report_of([read_run(tmp_path / "out")]), path)
    assert len(data_of(path)["details"]) == 20
    assert path.stat().st_size < 3_000_000


def test_a_hundred_megapixels_become_a_small_photo(tmp_path: Path) -> None:
    from onnxplain.explanations.run_record import hash_of

    path = tmp_path / "large.jpg"
    Image.new("RGB", (12_000, 8_400), (90, 120, 60)).save(path, quality=50)
    photo = read_photo(path, hash_of(path), (8_400, 12_000), 178)
    assert photo.url is not None and len(photo.url) < 20_000
    refused = read_photo(path, hash_of(path), (8_400, 12_000), 50)
    assert refused.url is None and "megapixels" in refused.reason
    assert LONGEST_SIDE == 640


def test_a_photo_keeps_its_proportions_and_its_orientation(tmp_path: Path) -> None:
    import base64
    import io

    from onnxplain.explanations.run_record import hash_of

    path = tmp_path / "turned.jpg"
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.fromarray(np.tile(np.linspace(0, 255, 900, dtype=np.uint8), (300, 1))).save(path, exif=exif)
    photo = read_photo(path, hash_of(path), (900, 300), 178)
    assert photo.url is not None
    with Image.open(io.BytesIO(base64.b64decode(photo.url.partition(",")[2]))) as shown:
        assert shown.size == (213, 640)


# ---- what is doubtful


def line_with(**changes: Any) -> dict[str, Any]:
    line = {
        "status": "ok", "label": "cat", "score": 0.9, "detection": None, "predicted": 1,
        "top": [{"class_id": 1, "label": "cat", "score": 0.9}], "boxes": [{"xyxy": [0, 0, 10, 10]}],
        "box": {"xyxy": [0, 0, 10, 10], "source": "head", "doubt": None}, "answers": [],
    }  # fmt: skip
    return {**line, **changes}


def detections(*scores: float) -> list[dict[str, Any]]:
    return [{"head": "detections", "kind": "detections", "detections": [{"score": score} for score in scores]}]


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({}, ()),
        ({"status": "constant"}, ("no heat",)),
        ({"relative_error": LARGEST_ERROR + 0.01}, ("map uncertain",)),
        ({"relative_error": LARGEST_ERROR}, ()),
        ({"relative_error": None}, ()),
        ({"boxes": [{"xyxy": [20, 20, 30, 30]}]}, ("box and map disagree",)),
        ({"boxes": []}, ("box and map disagree",)),
        (
            {"box": {"xyxy": [0, 0, 9, 9], "source": "heat", "doubt": "covers nearly everything"}},
            ("covers nearly everything",),
        ),
        ({"top": [{"class_id": 1, "label": "cat", "score": 0.49}]}, ("low score",)),
        ({"top": [{"class_id": 1, "label": "cat", "score": None}]}, ("low score",)),
        ({"top": []}, ()),
        ({"top": [], "detection": {"score": 0.3}}, ("low score",)),
        # Of a detector's image the best detection counts, whichever is explained.
        ({"top": [], "detection": {"score": 0.3}, "answers": detections(0.3)}, ("low score",)),
        ({"top": [], "detection": {"score": 0.3}, "answers": detections(0.9, 0.3)}, ()),
    ],
)
def test_what_speaks_against_an_image(changes: dict[str, Any], expected: tuple[str, ...]) -> None:
    assert concerns.concerns_of([line_with(), line_with(**changes)]) == expected


def test_every_concern_has_a_weight() -> None:
    from typing import get_args

    assert set(concerns.WEIGHTS) == set(get_args(concerns.Concern))


def test_agreement_is_the_iou_of_head_and_map() -> None:
    assert concerns.agreement_of(line_with(boxes=[{"xyxy": [5, 0, 15, 10]}])) == pytest.approx(1 / 3)
    heat = {"xyxy": [0, 0, 10, 10], "source": "heat", "doubt": None}
    assert concerns.agreement_of(line_with(box=heat)) is None
    assert concerns.agreement_of(line_with(box=None)) is None


# ---- folders that are not as they were


def test_a_run_without_images_gives_a_page_without_images(copied: Path) -> None:
    write_lines(copied, [])
    data = page_of(copied)
    assert (data["images"], data["details"]) == ([], [])


def test_without_the_model_and_the_photos(copied: Path) -> None:
    before = page_of(copied)
    (copied.parent / "model.onnx").unlink()
    (copied.parent / "plain.png").unlink()
    after = page_of(copied)
    assert after["details"][1]["maps"] == before["details"][1]["maps"]
    assert after["details"][1]["photo"] is None
    assert "plain.png" in after["details"][1]["photo_reason"]
    assert str(copied.parent) not in after["details"][1]["photo_reason"]
    assert "photo missing" in entry_of(after, "plain.png")["concerns"]


@pytest.mark.parametrize("size", [(160, 120), (50, 60)])
def test_a_photo_that_changed_is_said(size: tuple[int, int], copied: Path) -> None:
    Image.new("RGB", size).save(copied.parent / "plain.png")
    data = page_of(copied)
    assert "photo changed" in entry_of(data, "plain.png")["concerns"]
    frame_hw = data["details"][1]["size_hw"]
    assert (data["details"][1]["photo"] is not None) == (list(size[::-1]) == frame_hw)


def test_a_model_that_changed_is_said(copied: Path) -> None:
    with (copied.parent / "model.onnx").open("ab") as file:
        file.write(b"\0")
    assert "model changed" in entry_of(page_of(copied), "plain.png")["concerns"]


@pytest.mark.parametrize("how", ["gone", "text", "other"])
def test_a_map_that_is_missing_is_named(how: str, copied: Path) -> None:
    line = next(line for line in lines_of(copied) if "plain" in line["image"] and line["status"] == "ok")
    path = copied / line["raw"]
    if how == "gone":
        path.unlink()
    elif how == "text":
        path.write_text("no map")
    else:
        np.save(path, np.zeros(3))
    data = page_of(copied)
    assert "map missing" in entry_of(data, "plain.png")["concerns"]
    missing = [each["missing"] for each in data["details"][1]["maps"] if each["missing"]]
    assert len(missing) == 1 and missing[0].startswith(f"{line['raw']}: found no map")


def test_two_runs_stand_side_by_side(written: Path, copied: Path) -> None:
    """The photos are the same files in content and name; one label differs."""
    lines = lines_of(copied)
    for line in lines:
        if line["image"].endswith("plain.png"):
            line["top"][0]["label"] = line["answers"][0]["top"][0]["label"] = "another"
    write_lines(copied, lines)
    path = copied / "report.html"
    write_report(report_of([read_run(written), read_run(copied)]), path)
    data = data_of(path)
    assert data["runs"] == ["model.onnx (1)", "model.onnx (2)"]
    assert [image["name"] for image in data["images"]] == [*NAMES, "broken.png"]
    assert {each["run"] for each in data["details"][1]["maps"]} == {0, 1}
    assert [answer["run"] for answer in data["details"][1]["answers"]] == [0, 0, 1, 1]
    assert "models disagree" in entry_of(data, "plain.png")["concerns"]
    assert "models disagree" not in entry_of(data, NAMES[0])["concerns"]


def change_record(folder: Path, change: Any) -> None:
    record = json.loads((folder / "run.json").read_text())
    change(record)
    (folder / "run.json").write_text(json.dumps(record))


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (lambda record: record.update(version=0), "found schema 'onnxplain-run' version 0"),
        (lambda record: record.update(schema="other"), "found schema 'other'"),
        (lambda record: record.pop("preprocessing"), "found a record that was changed"),
        (lambda record: record.update(engine=[]), "found a record that was changed"),
        (lambda record: record["pictures"].update(colormap="<b>"), "found colour map '<b>'"),
        (lambda record: record["pictures"].update(alpha="much"), "found pictures"),
        (lambda record: record.update(id="0" * 32), "found lines of run"),
    ],
)
def test_a_record_that_was_changed_is_refused(change: Any, says: str, copied: Path) -> None:
    change_record(copied, change)
    with pytest.raises(OnnxplainError, match=re.escape(says)):
        page_of(copied)


@pytest.mark.parametrize(
    "change",
    [
        lambda line: line.pop("frame"),
        lambda line: line.update(frame={**line["frame"], "scale_xy": [-1, 1]}),
        lambda line: line.update(image_size_hw=[3, 4]),
        lambda line: line.pop("heat_from_zero"),
        lambda line: line.update(map_frame={"scale_hw": [1, 1]}),
        lambda line: line.update(top=7),
        lambda line: line.update(level="high"),
        lambda line: line.update(score=float("nan")),
    ],
)
def test_a_line_that_was_changed_is_refused(change: Any, copied: Path) -> None:
    lines = lines_of(copied)
    change(lines[0])
    write_lines(copied, lines)
    with pytest.raises(OnnxplainError, match=r"explain the images again|expected two positive numbers"):
        page_of(copied)
    assert not (copied / "report.html").exists()


def test_line_breaks_of_unicode_in_a_label_are_no_end_of_a_line(copied: Path) -> None:
    lines = lines_of(copied)
    for line in lines[:9]:
        line["target_name"] = "a\u2028b\u0085c"
    text = "".join(json.dumps(line, ensure_ascii=False) + "\n" for line in lines)
    (copied / "explanations.jsonl").write_text(text, encoding="utf-8")
    assert page_of(copied)["details"][0]["maps"][0]["target"] == "a\u2028b\u0085c"


def test_images_of_one_name_are_told_apart_by_their_content(copied: Path) -> None:
    lines = lines_of(copied)
    twin = {**lines[0], "image": "elsewhere/plain.png"}
    write_lines(copied, [*lines, twin])
    assert [image.name for image in plan_images([read_run(copied)])].count("plain.png") == 2
