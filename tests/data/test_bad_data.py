"""Whatever is wrong with a data set is reported by file and line, counted, and left out; nothing else is."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest

from onnxplain.data import open_dataset
from onnxplain.errors import OnnxplainError
from tests.data.written import COCO, CSV, FORMATS, VOC_A, VOC_B, Files, label_map, paint, png, write

BOMB = '<!DOCTYPE a [<!ENTITY b "ha">\n<!ENTITY c "&b;&b;">]>\n<annotation><filename>&c;</filename></annotation>'
CROWD = '{"id": 5, "image_id": 9, "category_id": 17, "bbox": [0, 0, 4, 4], "iscrowd": 1},'

WSOL = FORMATS["wsol"]
YOLO = FORMATS["yolo"]


def edit(content: object, old: str, new: str) -> str:
    assert isinstance(content, str) and old in content
    return content.replace(old, new, 1)


# Format, files that replace those of the format, and the problems: file, line, message.
CASES: dict[str, tuple[str, Files, list[tuple[str, int | None, str]]]] = {
    "voc: missing image": ("voc", {"c.xml": edit(VOC_B, "b.png", "c.png")}, [("c.xml", 3, "no image 'c.png' in")]),
    "voc: box outside": (
        "voc",
        {"a.xml": edit(VOC_A, "<xmax>20<", "<xmax>41<")},
        [("a.xml", 5, "box 4 8 41 24, expected it inside the image of 40 × 32")],
    ),
    "voc: box without area": (
        "voc",
        {"a.xml": edit(VOC_A, "<xmax>20<", "<xmax>4<")},
        [("a.xml", 5, "x1 < x2")],
    ),
    "voc: counted from zero": (
        "voc",
        {"a.xml": edit(VOC_A, "<xmin>1<", "<xmin>0<")},
        [("a.xml", 6, "voc_origin=0")],
    ),
    "voc: no number": ("voc", {"a.xml": edit(VOC_A, "<xmin>5<", "<xmin>five<")}, [("a.xml", 5, "'five', expected a")]),
    "voc: not finite": ("voc", {"a.xml": edit(VOC_A, "<xmin>5<", "<xmin>nan<")}, [("a.xml", 5, "'nan'")]),
    "voc: no corner": ("voc", {"a.xml": edit(VOC_A, "<xmin>5</xmin>", "")}, [("a.xml", 5, "without <xmin>")]),
    "voc: no box": (
        "voc",
        {"b.xml": edit(VOC_B, "<bndbox>", "<x/><!-- ").replace("</bndbox>", " -->", 1)},
        [("b.xml", 4, "without <bndbox>")],
    ),
    "voc: no name": ("voc", {"a.xml": edit(VOC_A, "<name>cat</name>", "")}, [("a.xml", 5, "without <name>")]),
    "voc: no object": (
        "voc",
        {"c.xml": "<annotation><filename>c.png</filename></annotation>"},
        [("c.xml", 1, "no <object>")],
    ),
    "voc: the image twice, spelled otherwise": (
        "voc",
        {"c.xml": edit(VOC_B, "b.png", "b")},
        [("c.xml", 3, "already annotated in .*b.xml")],
    ),
    "voc: the image twice": ("voc", {"c.xml": VOC_B}, [("c.xml", 3, "'b.png' is already annotated in b.xml")]),
    "voc: the object twice": (
        "voc",
        {"b.xml": edit(VOC_B, "</annotation>", VOC_B.splitlines()[3] + "</annotation>")},
        [("b.xml", 6, "the same 'cat' again")],
    ),
    "voc: another size": (
        "voc",
        {"a.xml": edit(VOC_A, "<width>40<", "<width>41<")},
        [("a.xml", 3, "40 × 32 .*, expected 41 × 32")],
    ),
    "voc: size in words": ("voc", {"c.xml": edit(VOC_A, "<width>40<", "<width>wide<")}, [("c.xml", 4, "'wide'")]),
    "voc: not XML": ("voc", {"c.xml": "a.png,cat,1,2,3,4\n"}, [("c.xml", 1, "invalid XML")]),
    "voc: XML cut off": ("voc", {"c.xml": VOC_A[:200]}, [("c.xml", 5, "invalid XML")]),
    "voc: unknown encoding": (
        "voc",
        {"c.xml": '<?xml version="1.0" encoding="cat-8"?>\n<annotation/>'},
        [("c.xml", 1, "cannot decode XML")],
    ),
    "voc: other XML": ("voc", {"c.xml": "<svg/>"}, [("c.xml", 1, "<svg>, expected the <annotation>")]),
    "voc: entity bomb": ("voc", {"c.xml": BOMB}, [("c.xml", 1, "document type")]),
    "voc: empty file": ("voc", {"c.xml": ""}, [("c.xml", None, "empty file")]),
    "voc: no image at that name": (
        "voc",
        {"images/c.png": "text", "c.xml": edit(VOC_B, "b.png", "c.png")},
        [("c.xml", 3, "c.png: found no image .4 bytes")],
    ),
    "voc: empty image": (
        "voc",
        {"images/c.png": "", "c.xml": edit(VOC_B, "b.png", "c.png")},
        [("c.xml", 3, "c.png: found an empty file .0 bytes")],
    ),
    "voc: impossible name": (
        "voc",
        {"c.xml": edit(VOC_B, "b.png", "x" * 300 + ".png")},
        [("c.xml", 3, "no image 'xxx")],
    ),
    "coco: unknown category": (
        "coco",
        {"instances.json": edit(COCO, '"category_id": 18', '"category_id": 19')},
        [("instances.json", None, r"annotations\[1\]: found category_id 19")],
    ),
    "coco: unknown image": (
        "coco",
        {"instances.json": edit(COCO, '"image_id": 7, "category_id": 18', '"image_id": 8, "category_id": 18')},
        [("instances.json", None, r"annotations\[1\]: found image_id 8")],
    ),
    "coco: crowd": (
        "coco",
        {"instances.json": edit(COCO, '{"id": 1,', CROWD + '{"id": 1,')},
        [("instances.json", None, r"annotations\[0\]: found a crowd region of 'cat'")],
    ),
    "coco: negative side": (
        "coco",
        {"instances.json": edit(COCO, "[4, 8, 16, 16]", "[4, 8, -2, 16]")},
        [("instances.json", None, r"annotations\[0\]: .*x1 < x2")],
    ),
    "coco: no box": (
        "coco",
        {"instances.json": edit(COCO, "[4, 8, 16, 16]", '[4, 8, "16", 16]')},
        [("instances.json", None, r"annotations\[0\]: found bbox .* expected four numbers")],
    ),
    "coco: not finite": (
        "coco",
        {"instances.json": edit(COCO, "[4, 8, 16, 16]", f"[4, 8, 1{'0' * 400}, NaN]")},
        [("instances.json", None, r"annotations\[0\]: found bbox .* expected four numbers")],
    ),
    "coco: the class twice": (
        "coco",
        {
            "instances.json": edit(
                COCO, '{"id": 17, "name": "cat"}', '{"id": 17, "name": "cat"}, {"id": 1, "name": "cat"}'
            )
        },
        [("instances.json", None, r"categories\[2\]: .* again")],
    ),
    "coco: the image twice": (
        "coco",
        {
            "instances.json": edit(COCO, '"images": [', '"images": [{"id": 1, "file_name": "b.png"},')
            .replace('"id": 9,', '"id": 1,', 1)
            .replace('"image_id": 9', '"image_id": 1')
        },
        [("instances.json", None, r"images\[2\]: .* again")],
    ),
    "coco: image without annotation": (
        "coco",
        {"instances.json": edit(COCO, '"images": [', '"images": [{"id": 1, "file_name": "c.png"},')},
        [
            ("instances.json", None, r"images\[0\]: image 'c.png' has no annotation"),
        ],
    ),
    "coco: entries of other types": (
        "coco",
        {"instances.json": edit(COCO, '"annotations": [', '"annotations": [3, {"image_id": [1]},')},
        [
            ("instances.json", None, r"annotations\[0\]: found int"),
            ("instances.json", None, r"annotations\[1\]: found image_id \[1\]"),
        ],
    ),
    "csv: no number": ("csv", {"boxes.csv": edit(CSV, "8,20", "x,20")}, [("boxes.csv", 2, "'x', expected a number")]),
    "csv: too few columns": (
        "csv",
        {"boxes.csv": CSV + "b.png,cat,1,2\n"},
        [("boxes.csv", 6, "4 columns, expected 8")],
    ),
    "csv: empty label": ("csv", {"boxes.csv": edit(CSV, "png,cat", "png,")}, [("boxes.csv", 2, "empty file or label")]),
    "csv: sizes disagree": ("csv", {"boxes.csv": edit(CSV, "dog,40", "dog,41")}, [("boxes.csv", 3, "that differs")]),
    "csv: the row twice": ("csv", {"boxes.csv": CSV + CSV.splitlines()[1]}, [("boxes.csv", 6, "the same 'cat' again")]),
    "csv: outside, the file twice": (
        "csv",
        {"boxes.csv": CSV + "a.png,cat,40,32,-1,0,5,5\na.png,cat,40,32,0,0,5,33\n"},
        [("boxes.csv", 6, "inside"), ("boxes.csv", 7, "inside")],
    ),
    "yolo: class out of range": (
        "yolo",
        {"labels/b.txt": "2 .5 .5 .1 .1\n0 .5 .5 .1 .1"},
        [("labels/b.txt", 1, "class 2, .* 0 to 1")],
    ),
    "yolo: class with a fraction": (
        "yolo",
        {"labels/b.txt": "0.5 .5 .5 .1 .1\n0 .5 .5 .1 .1"},
        [("labels/b.txt", 1, "class 0.5")],
    ),
    "yolo: a confidence behind": (
        "yolo",
        {"labels/b.txt": "0 .5 .5 .1 .1\n0 .5 .5 .2 .2 .9"},
        [("labels/b.txt", 2, "6 numbers")],
    ),
    "yolo: pixels": (
        "yolo",
        {"labels/b.txt": "0 .5 .5 .1 .1\n0 8 9 3 3"},
        [("labels/b.txt", 2, "inside the image of 16 × 48")],
    ),
    "yolo: words": (
        "yolo",
        {"labels/b.txt": "0 .5 .5 .1 .1\nsee the other file please"},
        [("labels/b.txt", 2, "'see'")],
    ),
    "yolo: empty file": ("yolo", {"labels/c.txt": ""}, [("labels/c.txt", None, "empty file")]),
    "yolo: no text": ("yolo", {"labels/c.txt": b"0 0 0 1 1\n\xff\xfe"}, [("labels/c.txt", 2, "UTF-8")]),
    "yolo: two images": (
        "yolo",
        {"images/b.jpg": "", "labels/c.txt": "0 .5 .5 1 1"},
        [("labels/b.txt", None, "b.jpg and b.png"), ("labels/c.txt", None, "no image 'c'")],
    ),
    "yolo: the class twice": (
        "yolo",
        {"data.yaml": "names: [cat, dog, cat]", "labels/b.txt": "0 .5 .5 1 1\n2 .5 .5 1 1"},
        [("data.yaml", None, r"names\[2\]: .* 'cat' again"), ("labels/b.txt", 2, "class 2, whose name is twice")],
    ),
    "wsol: unlisted": (
        "wsol",
        {"class_labels.txt": "c.png,1\n" + str(WSOL["class_labels.txt"])},
        [("class_labels.txt", 1, "'c.png', expected one that image_ids.txt lists")],
    ),
    "wsol: listed twice": (
        "wsol",
        {"image_ids.txt": "a.png\nb.png\na.png\n"},
        [("image_ids.txt", 3, "already listed in line 1")],
    ),
    "wsol: no class": ("wsol", {"image_ids.txt": "c.png\na.png\nb.png\n"}, [("image_ids.txt", 1, "no class")]),
    "wsol: two classes": (
        "wsol",
        {"class_labels.txt": str(WSOL["class_labels.txt"]) + "a.png,4"},
        [("class_labels.txt", 3, "expected 3 as above")],
    ),
    "wsol: class in words": (
        "wsol",
        {"class_labels.txt": str(WSOL["class_labels.txt"]) + "a.png,cat"},
        [("class_labels.txt", 3, "'cat'")],
    ),
    "wsol: masks": (
        "wsol",
        {"localization.txt": "a.png,masks/a.png,\n"},
        [("localization.txt", 1, "masks, expected boxes")],
    ),
    "wsol: outside by one": (
        "wsol",
        {"localization.txt": "a.png,4,8,40,23\nb.png,2,3,9,26"},
        [("localization.txt", 1, "inside")],
    ),
    "wsol: too few": (
        "wsol",
        {"localization.txt": "a.png,4\nb.png,2,3,9,26"},
        [("localization.txt", 1, "2 columns, expected 5")],
    ),
    "wsol: sizes": (
        "wsol",
        {"image_sizes.txt": "a.png,x,3\nb.png,17,48"},
        [("image_sizes.txt", 1, "'x'"), ("image_ids.txt", 2, "expected 17 × 48")],
    ),
    "csv-labels: rows": (
        "csv-labels",
        {"labels.csv": "file,labels,age\na.png,cat,3\nb.png,dog\n,dog,3\nc.png,dog,3\na.png,dog,4\na.png,cat,\n"},
        [
            ("labels.csv", 3, "2 columns, expected 3: file, labels, age"),
            ("labels.csv", 4, "empty file"),
            ("labels.csv", 6, "column age: found '4', expected 3 as in the rows above"),
            ("labels.csv", 7, "the same 'cat' again"),
            ("labels.csv", 5, "no image 'c.png' in"),
        ],
    ),
    "csv-labels: a number too large for float32": (
        "csv-labels",
        {"labels.csv": "file,labels,age\na.png,cat,3\nb.png,dog,-1e39\n"},
        [("labels.csv", 3, "column age: found '-1e39', expected a number up to 1e\\+30")],
    ),
    "csv-labels: a word among numbers": (
        "csv-labels",
        {"labels.csv": "file,labels,age\na.png,cat,3\nb.png,dog,old\na.png,dog,3\nb.png,cat,nan\nb.png,ox,7\n"},
        [("labels.csv", 3, "column age: found 'old'"), ("labels.csv", 5, "column age: found 'nan'")],
    ),
    "masks: strays": (
        "masks",
        {
            "masks/notes.md": "x",
            "masks/c.png": label_map("a", {1: (0, 0, 4, 4)}),
            "masks/d.jpg": "",
            "masks/e.png": "",
            "masks/f.png": "no image",
            "masks/g.png": png(np.zeros((4, 4, 3), np.uint8)),
            "images/h.png": png(np.zeros((5, 5, 3), np.uint8)),
            "masks/h.png": png(np.ones((4, 6), np.uint8)),
        },
        [
            ("masks/d.jpg", None, "a .jpg file, expected a mask without loss: .png"),
            ("masks/e.png", None, "0 bytes"),
            ("masks/f.png", None, "found no image"),
            ("masks/g.png", None, "mode RGB, expected a label map"),
            ("masks/notes.md", None, "a .md file"),
            ("masks/c.png", None, "no image 'c' in"),
            ("masks/h.png", None, "5 × 5 pixels, expected 6 × 4 as annotated"),
        ],
    ),
    "masks: what they show": (
        "masks",
        {
            "images/c.png": png(np.zeros((4, 4, 3), np.uint8)),
            "masks/c.png": png(np.zeros((4, 4), np.uint8)),
            "images/d.png": png(np.zeros((4, 4, 3), np.uint8)),
            "masks/d.png": png(np.eye(4, dtype=np.uint8) * 255),
            "images/e.png": png(np.zeros((4, 4, 3), np.uint8)),
            "masks/e.png": png(np.eye(4, dtype=np.uint8) * 7),
        },
        [
            ("masks/c.png", None, "only background, expected pixels of a class$"),
            ("masks/d.png", None, "only background, .*: write the class as 1, because 255 means not labelled"),
            ("masks/e.png", None, "class 7, expected at most 3, the last that has a name"),
        ],
    ),
    "image-folder: strays": (
        "image-folder",
        {"cat/1.png": "", "dog/notes.md": "", "readme.md": "", "empty/notes": "x"},
        [
            ("readme.md", None, "beside the class folders"),
            ("dog/notes.md", None, "no image"),
            ("empty/notes", None, "no image"),
            ("empty", None, "in this class folder"),
            ("cat/1.png", None, "0 bytes"),
        ],
    ),
}


@pytest.mark.parametrize("case", CASES)
def test_a_problem_is_reported_by_file_and_line_and_left_out(case: str, tmp_path: Path) -> None:
    name, changed, expected = CASES[case]
    if name == "image-folder":
        paint(tmp_path / "cat" / "2.png")
        paint(tmp_path / "dog" / "3.png")
        folder = tmp_path
        for path, content in changed.items():
            (folder / path).parent.mkdir(exist_ok=True)
            (folder / path).write_text(str(content))
    else:
        folder = write(tmp_path, {**FORMATS[name], **changed})
    dataset = open_dataset(folder, format=name)

    found = [(problem.path.relative_to(folder).as_posix(), problem.line) for problem in dataset.problems]
    assert found == [(path, line) for path, line, _ in expected]
    for problem, (path, line, message) in zip(dataset.problems, expected, strict=True):
        assert re.search(message, problem.message), problem.message
        assert "\n" not in f"{problem}"
        assert f"{problem}".startswith(f"{folder / path}:" + (f"{line}: " if line else " "))
    assert dataset.skipped == len(expected)
    assert len(dataset.records) > 0
    with pytest.raises(OnnxplainError) as raised:
        open_dataset(folder, format=name, strict=True)
    assert f"{raised.value}" == f"{dataset.problems[0]}"


@pytest.mark.parametrize(
    ("name", "file", "content", "message"),
    [
        ("coco", "instances.json", "[1, 2]", "a JSON list, expected a COCO file"),
        ("coco", "instances.json", '{"images": [], "categories": []}', "no list 'annotations'"),
        ("coco", "instances.json", '{"images": [\n  7\n', "instances.json:3: found invalid JSON"),
        ("coco", "instances.json", "<annotation/>", "json:1: found invalid JSON"),
        ("coco", "instances.json", "[" * 100_000, "JSON that is too deep"),
        ("coco", "instances.json", "1" * 10_000, "too long numbers"),
        ("coco", "instances.json", '{"images": [], "annotations": [], "categories": []}', "no usable image"),
        (
            "csv",
            "boxes.csv",
            "<annotation>\n</annotation>",
            "csv:1: found 1 other columns, expected columns file, label",
        ),
        ("csv", "boxes.csv", "file;label;xmin\na;b;1", "expected columns file, label"),
        ("csv", "boxes.csv", "a.png,1,2,3,4,cat", "expected columns"),
        ("csv", "boxes.csv", "file,filename,label,xmin,ymin,xmax,ymax", "two columns for 'file'"),
        ("csv", "boxes.csv", "file,label,xmin,ymin,xmax,ymax\n", "no usable image .0 problems"),
        ("csv", "boxes.csv", ",,\n", "empty rows"),
        ("csv", "boxes.csv", 'file,label,xmin,ymin,xmax,ymax\na,"b', "csv:2: found invalid CSV"),
        ("csv", "boxes.csv", b"\x89PNG\r\n\x1a\n", "UTF-8"),
        ("csv", "boxes.csv", CSV.replace(".png", ".gif"), r"no usable image .2 problems, the first: .*csv:2: found no"),
        (
            "csv-labels",
            "labels.csv",
            "name,labels\na.png,cat",
            "found the columns name, labels, expected a header: file",
        ),
        ("csv-labels", "labels.csv", "file,city\na.png,Rome", "no column of labels or numbers"),
        ("csv-labels", "labels.csv", "file,image,label\na.png,b.png,cat", "two columns for 'file'"),
        ("csv-labels", "labels.csv", "file,age,age\na.png,1,2", "two columns for 'age'"),
        ("csv-labels", "labels.csv", "file,label\n", "no usable image .0 problems"),
        ("csv-labels", "labels.csv", ",,\n", "the columns none"),
        ("csv-labels", "labels.csv", 'file,label\na,"b', "csv:2: found invalid CSV"),
        ("voc", "a.xml", "<svg/>", "no usable image .1 problems, the first"),
        ("yolo", "data.yaml", "names: [cat\nnc: 2", "data.yaml:2: found invalid YAML"),
        ("yolo", "data.yaml", "nc: 2", "no usable list of classes"),
        ("yolo", "data.yaml", "names: [yes, no]", "quote yes, no"),
        ("yolo", "data.yaml", "names: {0: cat, 2: dog}", "no usable list"),
        ("yolo", "classes.txt", "cat\n\ndog", "classes.txt:2: found an empty line"),
        ("yolo", "labels/a.txt", "0 1 1 1 1", "no list of classes, expected data.yaml or classes.txt"),
        ("wsol", "image_ids.txt", "a.png", "class_labels.txt: cannot be read"),
    ],
)
def test_a_file_of_which_nothing_is_usable_is_one_clear_error(
    name: str, file: str, content: str | bytes, message: str, tmp_path: Path
) -> None:
    folder = write(tmp_path, {file: content})
    if name == "voc":
        (folder / "images" / "a.png").unlink()
    with pytest.raises(OnnxplainError, match=message) as raised:
        open_dataset(folder, format=name)
    assert "\n" not in f"{raised.value}"


@pytest.mark.parametrize("name", FORMATS)
def test_no_damage_of_a_file_makes_a_reader_stumble(name: str, tmp_path: Path) -> None:
    """Cut off, bytes replaced, words replaced: usable in part, or one line of error."""
    rng = np.random.default_rng(0)
    folder = write(tmp_path, FORMATS[name])
    for file, content in FORMATS[name].items():
        whole = str(content).encode()
        words = sorted(set(re.findall(rb"[\w.]+", whole)))
        for _ in range(40):
            damaged = bytearray(whole[: rng.integers(1, len(whole) + 1)])
            damaged[rng.integers(len(damaged))] = rng.integers(256)
            old, new = rng.choice(len(words), 2)
            (folder / file).write_bytes(bytes(damaged).replace(words[old], words[new]))
            try:
                dataset = open_dataset(folder, format=name)
            except OnnxplainError as error:
                assert "\n" not in f"{error}"
            else:
                assert all("\n" not in f"{problem}" for problem in dataset.problems)
        (folder / file).write_bytes(whole)


def test_labels_outside_the_given_classes_are_problems(tmp_path: Path) -> None:
    dataset = open_dataset(write(tmp_path, FORMATS["csv"]), labels=["cat", "cow"])

    assert [(problem.line, "label 'dog'" in problem.message) for problem in dataset.problems] == [(3, True)]
    assert dataset.labels == ("cat", "cow")
    assert {record.label for record in dataset.records} == {"cat"}


def test_without_pyyaml_a_data_yaml_names_the_extra(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "yaml", None)

    with pytest.raises(OnnxplainError, match=r"onnxplain\[train\]"):
        open_dataset(write(tmp_path, YOLO))


@pytest.mark.parametrize(
    ("names", "message"),
    [("background\n\ndog\n", "2: found an empty line"), ("background\ncat\ncat\n", "3: found 'cat', expected a class")],
)
def test_names_of_masks_are_refused_if_one_is_missing_or_there_twice(names: str, message: str, tmp_path: Path) -> None:
    folder = write(tmp_path, {**FORMATS["masks"], "classes.txt": names})
    with pytest.raises(OnnxplainError, match=f"classes.txt:{message}"):
        open_dataset(folder)
