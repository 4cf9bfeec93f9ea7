"""Formats are told apart by what files hold: not every .json is COCO, not every .csv holds boxes."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from onnxplain.data import open_dataset
from onnxplain.data.formats.coco import looks_like_coco
from onnxplain.data.formats.csv_boxes import looks_like_boxes
from onnxplain.data.formats.csv_labels import looks_like_labels
from onnxplain.data.open import recognise_format
from onnxplain.errors import OnnxplainError
from tests.data.written import COCO, CSV, FORMATS, VOC_A, write

IMAGES = [{"id": number, "file_name": f"photos/{number:09}.jpg", "height": 9, "width": 9} for number in range(3000)]
LARGE = {"images": IMAGES, "annotations": [], "categories": []}


@pytest.mark.parametrize(
    ("text", "is_coco"),
    [
        (COCO, True),
        (json.dumps(json.loads(COCO)), True),
        ("\ufeff" + COCO, True),
        (json.dumps({"info": {"images": "]["}, "licenses": [{"name": '"}]'}], **json.loads(COCO)}), True),
        ('{"images": [], "annotations": []}', True),  # and `read_coco` says which list is missing
        (COCO[:60], True),  # and `read_coco` says where it breaks off
        (json.dumps(LARGE), True),
        (json.dumps(dict(reversed(LARGE.items()))), True),
        (json.dumps({"annotations": [{"note": "x" * 100_000}], "images": []}), True),
        ('{"images": "images", "annotations": {}, "categories": 3}', False),
        ('{"set": {"images": [], "annotations": [], "categories": []}}', False),
        ('{"text": "\\"images\\": [ \\"annotations\\": [", "images": []}', False),
        ('[{"images": [], "annotations": [], "categories": []}]', False),
        ('{"version": "5.0", "shapes": [{"label": "cat"}], "imagePath": "a.png"}', False),
        (json.dumps({"shapes": [], "imageData": "A" * 100_000}), False),
        ("images annotations categories", False),
        ("", False),
        ("\x00\x01", False),
    ],
)
def test_coco_is_told_by_its_lists(text: str, is_coco: bool, tmp_path: Path) -> None:
    path = tmp_path / "file.json"
    path.write_text(text, encoding="utf-8")
    assert looks_like_coco(path) == is_coco


def test_a_large_file_is_not_read_whole(tmp_path: Path) -> None:
    path = tmp_path / "file.json"
    with path.open("wb") as file:
        file.write(json.dumps(LARGE).encode()[:-1])
        file.truncate(2**40)  # a terabyte of nothing, on no disk
    assert looks_like_coco(path)


@pytest.mark.parametrize(
    ("text", "holds_boxes"),
    [
        (CSV, True),
        ("\n\n" + CSV, True),
        ("Image, Class, XMin, YMin, XMax, YMax\n", True),
        ("file,label,xmin,ymin\n", True),  # and `read_csv` says what is missing
        ("a.png,cat,1,2,3,4\n", True),
        ("a.png,cat,40,32,1,2,3,4\n", True),
        ("a.png,cat,1,2,3\n", False),
        ("name,age,city,height,weight,notes\n", False),
        ("file,label\na.png,cat\n", False),
        ("", False),
        ("\x00", False),
    ],
)
def test_boxes_are_told_by_the_first_row(text: str, holds_boxes: bool, tmp_path: Path) -> None:
    path = tmp_path / "file.csv"
    path.write_text(text, encoding="utf-8")
    assert looks_like_boxes(path) == holds_boxes


@pytest.mark.parametrize(
    ("text", "holds_labels"),
    [
        ("file,label\na.png,cat\n", True),
        ("\nImage, Tags\n", True),
        ("file,age\na.png,3\n", True),
        ("file,age\na.png,3\nb.png,4\nc.png,1", True),
        ("file,width,height\na.png,3,4\n", False),
        ("file,city\na.png,Rome\n", False),
        ("name,label\na.png,cat\n", False),
        ("a.png,cat\nb.png,dog\n", False),
        (CSV, False),
        ("", False),
        ("\x00", False),
    ],
)
def test_labels_and_numbers_are_told_by_the_header(text: str, holds_labels: bool, tmp_path: Path) -> None:
    path = tmp_path / "file.csv"
    path.write_text(text, encoding="utf-8")
    assert looks_like_labels(path) == holds_labels


@pytest.mark.parametrize(("suffix", "other"), [(".json", '{"cat": 0}'), (".csv", "who,when\nme,today\n")])
def test_the_file_that_looks_right_is_the_one_that_is_read(suffix: str, other: str, tmp_path: Path) -> None:
    name = {".json": "coco", ".csv": "csv"}[suffix]
    write(tmp_path, {**FORMATS[name], f"notes{suffix}": other})
    assert recognise_format(tmp_path) == name
    assert open_dataset(tmp_path, strict=True).records


def test_other_json_and_csv_beside_annotations_do_not_matter(tmp_path: Path) -> None:
    write(tmp_path, {"a.xml": VOC_A, "classes.json": '{"cat": 0}', "readme.csv": "who,when\nme,today\n"})
    assert recognise_format(tmp_path) == "voc"
    write(tmp_path, {"instances.json": COCO})
    with pytest.raises(OnnxplainError, match="found voc and coco, expected one"):
        open_dataset(tmp_path)


@pytest.mark.parametrize("name", ["labelme.json", "table.csv"])
def test_a_file_that_nobody_recognises_lists_the_formats(name: str, tmp_path: Path) -> None:
    path = write(tmp_path, {name: '{"shapes": []}'}) / name
    with pytest.raises(OnnxplainError, match=r"found no known data set, .*voc: .*coco: .*\. Name the format") as raised:
        open_dataset(path)
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize(
    ("format", "text", "message"),
    [
        ("coco", '{"shapes": []}', "found no list 'images', expected a COCO file"),
        ("coco", "[]", "found a JSON list, expected a COCO file"),
        ("coco", "", "found an empty file, expected annotations"),
        ("csv", "who,when", "found 2 other columns, expected columns file, label"),
        (None, COCO[:60], "found invalid JSON .*, expected a COCO file"),
        (None, '{"images": [], "annotations": []}', "found no list 'categories', expected a COCO file"),
    ],
)
def test_a_format_that_is_named_or_nearly_right_says_what_is_wrong(
    format: str | None, text: str, message: str, tmp_path: Path
) -> None:
    path = write(tmp_path, {f"file.{'csv' if format == 'csv' else 'json'}": text})
    with pytest.raises(OnnxplainError, match=message):
        open_dataset(path, format=format)
