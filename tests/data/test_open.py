from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from onnxplain.data import FORMATS, DataSet, Problem, Record, load_images, open_dataset
from onnxplain.data.digits.scenes import DIGIT_LABELS
from onnxplain.data.formats.image_lookup import read_size_hw
from onnxplain.data.open import recognise_format
from onnxplain.errors import OnnxplainError
from onnxplain.runtime.image import load_image
from tests.data import written
from tests.data.written import CSV, TRUTH, VOC_A, VOC_B, paint, write


@pytest.mark.parametrize("name", written.FORMATS)
def test_a_format_is_recognised(name: str, tmp_path: Path) -> None:
    folder = write(tmp_path, written.FORMATS[name])
    (first, *_) = written.FORMATS[name]

    assert recognise_format(folder) == name
    if name not in ("wsol", "masks"):
        assert recognise_format(folder / first) == name


def test_class_folders_are_recognised(tmp_path: Path) -> None:
    paint(tmp_path / "cat" / "1.png")
    paint(tmp_path / "dog" / "1.png")

    assert recognise_format(tmp_path) == "image-folder"


@pytest.mark.parametrize(
    ("files", "message"),
    [
        ({}, "found no known data set, expected one of these: voc: "),
        ({"notes.txt": "hello"}, "no known data set"),
        ({"a.xml": VOC_A, "boxes.csv": CSV}, "found voc and csv"),
        ({"train.csv": CSV, "test.csv": CSV}, "found 2 .csv files, expected one: name the file"),
    ],
)
def test_a_folder_that_fits_no_format_or_several_is_refused(files: written.Files, message: str, tmp_path: Path) -> None:
    with pytest.raises(OnnxplainError, match=message):
        open_dataset(write(tmp_path, files))


def test_the_format_may_be_named_where_a_folder_fits_several(tmp_path: Path) -> None:
    folder = write(tmp_path, {"a.xml": VOC_A, "boxes.csv": CSV})

    assert len(open_dataset(folder, format="csv").records) == 3
    assert len(open_dataset(folder, format="voc").records) == 2


def test_every_format_says_what_it_is() -> None:
    assert set(FORMATS) == {*written.FORMATS, "image-folder"}
    assert all(each.description for each in FORMATS.values())


@pytest.mark.parametrize("name", ["voc", "coco", "csv"])
@pytest.mark.parametrize("images", [".", "images"])
def test_images_lie_beside_the_annotations_or_in_images(name: str, images: str, tmp_path: Path) -> None:
    source = write(tmp_path, written.FORMATS[name], images=images)

    assert len(open_dataset(source, strict=True).records) == len(TRUTH)


@pytest.mark.parametrize("name", ["voc", "coco", "yolo", "csv"])
def test_images_elsewhere_have_to_be_told(name: str, tmp_path: Path) -> None:
    source = write(tmp_path / "set", written.FORMATS[name], images="../far/away")

    with pytest.raises(OnnxplainError, match="images=DIR"):
        open_dataset(source)
    assert len(open_dataset(source, images=tmp_path / "far" / "away", strict=True).records) == len(TRUTH)


def test_beside_the_file_comes_before_images(tmp_path: Path) -> None:
    folder = write(tmp_path, written.FORMATS["csv"])
    beside = folder / "a.png"
    (folder / "images" / "a.png").rename(beside)

    assert {record.image for record in open_dataset(folder, strict=True).records} == {beside, folder / "images/b.png"}


def test_a_folder_of_images_that_is_told_is_the_only_one(tmp_path: Path) -> None:
    folder = write(tmp_path / "set", written.FORMATS["csv"])
    told = paint(tmp_path / "told" / "a.png", written.SIZES_WH["a"])
    dataset = open_dataset(folder, images=told.parent)

    assert {record.image for record in dataset.records} == {told}
    assert [problem.line for problem in dataset.problems] == [4]


def test_the_folders_of_the_voc_kit(tmp_path: Path) -> None:
    files: written.Files = {"Annotations/a.xml": VOC_A.replace("a.png", "a"), "Annotations/b.xml": VOC_B}
    folder = write(tmp_path, files, images="JPEGImages")

    assert len(open_dataset(folder, strict=True).records) == len(TRUTH)


@pytest.mark.parametrize(("split", "stems"), [("train", "a"), ("validation", "b"), ("all", "ab"), (None, "ab")])
@pytest.mark.parametrize("layout", ["folders", "yolo"])
def test_parts_of_a_data_set(layout: str, split: Any, stems: str, tmp_path: Path) -> None:
    if layout == "folders":
        write(tmp_path / "train", {"a.xml": VOC_A})
        write(tmp_path / "val", {"b.xml": VOC_B})
    else:
        labels = {
            f"{part}/labels/{stem}.txt": written.FORMATS["yolo"][f"labels/{stem}.txt"]
            for part, stem in (("train", "a"), ("valid", "b"))
        }
        write(tmp_path, {"data.yaml": "names: [cat, dog]", **labels}, images="train/images")
        write(tmp_path, {}, images="valid/images")
    dataset = open_dataset(tmp_path, split=split, strict=True)

    assert "".join(sorted({Path(record.image).stem for record in dataset.records})) == stems
    with pytest.raises(OnnxplainError, match="found the parts train, validation, expected 'test'"):
        open_dataset(tmp_path, split="test")


def test_a_part_has_the_classes_of_all_and_the_problems_of_its_own(tmp_path: Path) -> None:
    header = "file,label,xmin,ymin,xmax,ymax\n"
    write(tmp_path / "train", {"boxes.csv": header + "a.png,dog,1,1,4,4\na.png,dog,1,1,x,4\n"})
    write(tmp_path / "test", {"boxes.csv": header + "a.png,cat,1,1,4,4\n"})
    train, test = open_dataset(tmp_path, split="train"), open_dataset(tmp_path, split="test", strict=True)

    assert train.labels == test.labels == ("cat", "dog")
    assert [problem.path for problem in train.problems] == [tmp_path / "train" / "boxes.csv"]
    assert {record.name for record in open_dataset(tmp_path).records} == {"train/images/a", "test/images/a"}


def test_names_are_told_apart_whatever_the_paths_look_like(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    names = ["a.png", "deep/a.png", "deep/A.bmp", str(paint(tmp_path / "far" / "a.png")), "deep/b.jfif"]
    for name in names[:3]:
        paint(tmp_path / name)
    Image.new("RGB", (8, 6)).save(tmp_path / names[4], "JPEG")
    Path(tmp_path / "boxes.csv").write_text("\n".join(f"{name},cat,1,1,4,4" for name in names))
    monkeypatch.chdir(tmp_path)
    records = open_dataset("boxes.csv", strict=True).records

    assert [record.name for record in records] == ["a", "deep/a", "A.bmp", "far/a", "b"]


def test_class_folders_within_parts_are_not_classes_called_train_and_test(tmp_path: Path) -> None:
    for part in ("train", "test"):
        for label in ("cat", "dog"):
            paint(tmp_path / part / label / f"{part}.png")

    assert open_dataset(tmp_path, strict=True).labels == ("cat", "dog")
    assert len(open_dataset(tmp_path, split="test", format="image-folder", strict=True).records) == 2


def test_without_parts_train_and_test_are_a_seeded_split(tmp_path: Path) -> None:
    rows = ["file,label,xmin,ymin,xmax,ymax", *(f"{i}.png,cat,1,1,4,4" for i in range(10)), "0.png,cat,1,1,99,4"]
    for i in range(10):
        paint(tmp_path / f"{i}.png")
    (tmp_path / "boxes.csv").write_text("\n".join(rows))
    train, test, again = (
        {record.name for record in open_dataset(tmp_path, split=split, seed=3).records}
        for split in ("train", "test", "test")
    )

    assert len(train) == 8 and len(test) == 2 and not train & test
    assert test == again
    assert open_dataset(tmp_path, split="test").skipped == 1
    with pytest.raises(OnnxplainError, match="no part 'validation'"):
        open_dataset(tmp_path, split="validation")


def test_digits_are_drawn() -> None:
    pytest.importorskip("sklearn", reason="needs the train extra")
    pytest.importorskip("skimage", reason="needs the train extra")
    dataset = open_dataset("digits", split="train", seed=2, count=5)

    assert dataset.labels == DIGIT_LABELS
    assert [record.name for record in dataset.records] == [f"digits-train-2-{i}" for i in range(5)]
    assert [record.name for record in dataset.single_box().records] == [record.name for record in dataset.records]


@pytest.mark.parametrize(
    ("source", "options", "message"),
    [
        ("nowhere", {}, "no such file or folder"),
        ("digits", {"images": "."}, "found images, .*, expected none"),
        ("digits", {"split": "all"}, "split='all', expected none"),
        ("boxes.csv", {"count": 3}, "only for 'digits'"),
        ("boxes.csv", {"voc_origin": 0}, "only for voc"),
        ("boxes.csv", {"format": "tfrecord"}, "'tfrecord': expected one of voc, coco"),
        ("boxes.csv", {"images": "nowhere"}, "nowhere: found no such"),
        ("boxes.csv", {"labels": []}, "no usable image"),
        ("boxes.csv", {"labels": ["cat", "cat"]}, "each once"),
    ],
)
def test_bad_arguments_are_refused(
    source: str, options: dict[str, Any], message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(write(tmp_path, written.FORMATS["csv"]))

    with pytest.raises(OnnxplainError, match=message):
        open_dataset(source, **options)


@pytest.mark.parametrize("suffix", ["jpg", "png", "webp", "tiff"])
@pytest.mark.parametrize("orientation", [1, 3, 6, 8])
def test_the_header_tells_the_size_of_the_upright_image(suffix: str, orientation: int, tmp_path: Path) -> None:
    path, exif = tmp_path / f"photo.{suffix}", Image.Exif()
    exif[0x0112] = orientation
    Image.new("RGB", (9, 4)).save(path, exif=exif)

    assert read_size_hw(path) == load_image(path).shape[:2] == ((9, 4) if orientation > 4 else (4, 9))


def test_boxes_of_a_photo_annotated_before_it_was_turned_are_reported(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    folder = write(tmp_path, written.FORMATS["voc"])
    Image.new("RGB", (40, 32)).save(folder / "images" / "a.png", exif=exif)
    dataset = open_dataset(folder)

    assert [problem.path.name for problem in dataset.problems] == ["a.xml"]
    assert "EXIF" in dataset.problems[0].message
    assert [record.name for record in dataset.records] == ["b"]


def test_an_image_that_is_damaged_behind_its_header_is_found_when_loaded(tmp_path: Path) -> None:
    folder = write(tmp_path, written.FORMATS["csv"])
    pixels = np.random.default_rng(0).integers(0, 255, (32, 40, 3), np.uint8)
    Image.fromarray(pixels).save(folder / "images" / "a.png")
    content = (folder / "images" / "a.png").read_bytes()
    (folder / "images" / "a.png").write_bytes(content[: len(content) // 2])
    dataset = open_dataset(folder, strict=True)
    problems: list[Problem] = []
    loaded = list(load_images(dataset.records, problems))

    assert [(record.name, image_hwc.shape) for record, image_hwc in loaded] == [("b", (48, 16, 3))]
    assert [(problem.path, problem.line) for problem in problems] == [(folder / "images" / "a.png", None)] * 2
    assert problems[0].message.startswith("found a damaged or truncated image")
    with pytest.raises(OnnxplainError, match=r"a\.png: found a damaged"):
        list(load_images(dataset.records, [], strict=True))


def make(*shown: tuple[str, str, int]) -> DataSet:
    """A data set of images by name, each with a label and so many boxes."""
    box = [0, 0, 4, 4]
    records = [Record(Path(f"{n}.png"), label, np.array([box] * m), f"{n}#{label}") for n, label, m in shown]
    return DataSet("made", ("cat", "dog", "cow"), records)


def test_single_box_keeps_images_of_one_object() -> None:
    dataset = make(("one", "cat", 1), ("two", "cat", 2), ("both", "cat", 1), ("both", "dog", 1), ("none", "cat", 0))

    assert [record.name for record in dataset.single_box().records] == ["one#cat"]
    assert dataset.images_with_several_boxes == 2
    assert dataset.images_without_boxes == 1
    with pytest.raises(OnnxplainError, match="no usable image"):
        make(("two", "cat", 2)).single_box()


def test_select_keeps_classes_in_the_order_asked_for() -> None:
    dataset = make(("one", "cat", 1), ("two", "dog", 1), ("three", "cow", 1))
    selected = dataset.select(["cow", "cat"])

    assert selected.labels == ("cow", "cat")
    assert [record.name for record in selected.records] == ["one#cat", "three#cow"]
    assert [record.name for record in selected.records[1:]] == ["three#cow"]
    for labels in (["bird"], []):
        with pytest.raises(OnnxplainError):
            dataset.select(labels)
