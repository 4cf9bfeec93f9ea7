from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from onnxplain.data import DataSet, open_dataset
from onnxplain.data.class_mask import ClassMask
from tests.data.written import CSV, FORMATS, TRUTH, VOC_A, paint, png, write

WITH_LABELS = ("voc", "coco", "yolo", "csv")


def boxes_of(dataset: DataSet) -> dict[tuple[str, str], list[list[float]]]:
    assert len({record.name for record in dataset.records}) == len(dataset.records)
    return {(Path(record.image).stem, record.label): record.boxes_xyxy.tolist() for record in dataset.records}


@pytest.mark.parametrize("name", WITH_LABELS)
def test_the_same_boxes_in_every_format(name: str, tmp_path: Path) -> None:
    dataset = open_dataset(write(tmp_path, FORMATS[name]), strict=True)

    assert boxes_of(dataset) == TRUTH
    assert dataset.labels == ("cat", "dog")
    assert [record.name for record in dataset.records] == ["a#cat", "a#dog", "b"]
    assert dataset.images_with_several_boxes == 2


def test_wsol_lists_have_one_class_per_image_and_classes_in_number_order(tmp_path: Path) -> None:
    dataset = open_dataset(write(tmp_path, FORMATS["wsol"]), strict=True)

    assert boxes_of(dataset) == {("a", "3"): TRUTH["a", "cat"], ("b", "12"): TRUTH["b", "cat"]}
    assert dataset.labels == ("3", "12")


def test_wsol_lists_without_boxes_give_labels_alone(tmp_path: Path) -> None:
    files = {name: FORMATS["wsol"][name] for name in ("image_ids.txt", "class_labels.txt")}
    dataset = open_dataset(write(tmp_path, files), strict=True)

    assert boxes_of(dataset) == {("a", "3"): [], ("b", "12"): []}
    assert dataset.images_without_boxes == 2


def test_masks_give_one_record_per_class_with_its_pixels(tmp_path: Path) -> None:
    dataset = open_dataset(write(tmp_path, FORMATS["masks"]), strict=True)

    assert boxes_of(dataset) == {("a", "cat"): [], ("a", "dog"): [], ("b", "cat"): []}
    assert dataset.labels == ("cat", "dog", "bird")
    first, second, _ = (record.mask.load() for record in dataset.records)
    assert (first.shown.sum(), second.shown.sum(), (~first.known).sum()) == (16 * 16, 10 * 10, 40 * 2)
    assert first.shown[8:24, 4:20].all()
    assert second.shown[0:10, 30:40].all()


@pytest.mark.parametrize(
    ("images", "masks", "opened"),
    [
        ("JPEGImages", "SegmentationClass", ""),
        ("JPEGImages", "SegmentationClass", "SegmentationClass"),
        ("images", "masks", "masks"),
        ("photos", "masks", "masks"),
    ],
)
def test_where_masks_and_images_can_be(images: str, masks: str, opened: str, tmp_path: Path) -> None:
    files = {name.replace("masks/", f"{masks}/"): content for name, content in FORMATS["masks"].items()}
    folder = write(tmp_path, files, images)
    elsewhere = folder / images if images == "photos" else None
    dataset = open_dataset(folder / opened, images=elsewhere, strict=True)

    assert [record.name for record in dataset.records] == ["a#cat", "a#dog", "b"]
    assert all(record.image.parent.name == images for record in dataset.records)


@pytest.mark.parametrize(
    ("labels", "known"),
    [
        (np.array([[0, 1], [255, 1]], np.uint8), [[True, True], [False, True]]),
        (np.array([[0, 1], [65535, 255]], np.uint16), [[True, True], [False, True]]),
        (np.array([[False, True], [True, False]]), [[True, True], [True, True]]),
    ],
    ids=["8 bits", "16 bits", "1 bit"],
)
def test_the_largest_value_of_a_type_is_not_labelled(
    labels: np.ndarray, known: list[list[bool]], tmp_path: Path
) -> None:
    path = tmp_path / "mask.png"
    path.write_bytes(png(labels))
    pixels = ClassMask(path, 1).load()
    assert pixels.shown.tolist() == (labels == 1).tolist()
    assert pixels.known.tolist() == known


def test_a_csv_of_labels_and_numbers(tmp_path: Path) -> None:
    dataset = open_dataset(write(tmp_path, FORMATS["csv-labels"]), strict=True)

    assert boxes_of(dataset) == {("a", "cat"): [], ("a", "dog"): [], ("b", "cat"): []}
    assert [dict(record.numbers) for record in dataset.records] == [{"age": 3}, {"age": 3}, {"age": 4.5}]
    assert (dataset.labels, dataset.columns) == (("cat", "dog"), ("age",))
    assert (dataset.images_with_several_labels, dataset.images_without_boxes) == (1, 2)


@pytest.mark.parametrize(
    "text",
    [
        "File,Class\na.png,cat\na.png,dog\nb.png,cat\n",
        "tags,image\ncat|dog,a.png\n cat ,b.png\n",
        "path,label,labels,city\na.png,cat,dog,Rome\nb.png,,cat,Oslo\n",
        "filename,labels,width,height\na.png,cat; dog;,40,32\nb.png,cat,16,48\n",
    ],
    ids=["a row per label", "tags", "both, and a column of text", "sizes"],
)
def test_spellings_of_a_csv_of_labels(text: str, tmp_path: Path) -> None:
    dataset = open_dataset(write(tmp_path, {"labels.csv": text}), strict=True)
    assert [(record.name, record.label) for record in dataset.records] == [
        ("a#cat", "cat"),
        ("a#dog", "dog"),
        ("b", "cat"),
    ]
    assert dataset.columns == ()


def test_numbers_alone_and_images_without_a_label(tmp_path: Path) -> None:
    numbers = open_dataset(write(tmp_path / "1", {"ages.csv": "file,Age,Note\na.png,3,x\nb.png,,y\n"}), strict=True)
    assert (numbers.labels, numbers.columns) == ((), ("Age",))
    assert [(record.name, record.label, dict(record.numbers)) for record in numbers.records] == [
        ("a", "", {"Age": 3}),
        ("b", "", {}),
    ]
    labels = open_dataset(write(tmp_path / "2", {"tags.csv": "file,labels\na.png,cat\nb.png,\n"}), strict=True)
    assert labels.labels == ("cat",)
    assert [record.label for record in labels.records] == ["cat", ""]


def test_class_folders_give_labels_and_names_that_differ(tmp_path: Path) -> None:
    for path in ("cat/1.png", "cat/2.png", "dog/1.png", "dog/deep/3.png", "dog/3.png", "dog/3.bmp"):
        paint(tmp_path / path)
    (tmp_path / "cat" / ".hidden").write_text("")
    dataset = open_dataset(tmp_path, strict=True)

    assert dataset.labels == ("cat", "dog")
    assert {record.name: record.label for record in dataset.records} == {
        "cat/1": "cat",
        "2": "cat",
        "dog/1": "dog",
        "3.bmp": "dog",
        "dog/3": "dog",
        "deep/3": "dog",
    }


def _rows(text: str) -> list[list[str]]:
    return [line.split(",") for line in text.splitlines()]


@pytest.mark.parametrize(
    "text",
    [
        "\n".join(CSV.splitlines()[1:]),
        "\n".join(",".join([*row[:2], *row[4:]]) for row in _rows(CSV)[1:]),
        "\n".join(",".join([*row[:2], *row[4:]]) for row in _rows(CSV)),
        "\n".join(",".join([row[1], "1", *row[4:], row[0]]) for row in _rows(CSV)),
        CSV.replace("file,label", "Filename, Class"),
        "\ufeff" + CSV.replace("\n", "\r\n\r\n"),
        CSV.replace("a.png", '"a.png"').replace(",40,32,4", ",0,0,4").replace(",40,32,0", ",,,0"),
    ],
    ids=["headerless 8", "headerless 6", "no sizes", "other order", "aliases", "BOM and CRLF", "quotes, sizes unknown"],
)
def test_spellings_of_csv(text: str, tmp_path: Path) -> None:
    assert boxes_of(open_dataset(write(tmp_path, {"boxes.csv": text}), strict=True)) == TRUTH


@pytest.mark.parametrize(
    "names", ["names: [cat, dog]", "names: {1: dog, 0: cat}", 'names:\n  0: cat\n  1: "dog"\n# end\n', None]
)
@pytest.mark.parametrize("labels", ["labels", "labels/train", "train/labels", "."])
def test_layouts_of_yolo(names: str | None, labels: str, tmp_path: Path) -> None:
    listed = {"classes.txt": "cat\ndog\n"} if names is None else {"data.yaml": names}
    written = {f"{labels}/{stem}.txt": FORMATS["yolo"][f"labels/{stem}.txt"] for stem in "ab"}
    images = labels.replace("labels", "images")
    dataset = open_dataset(write(tmp_path, {**listed, **written}, images=images), format="yolo", strict=True)

    assert boxes_of(dataset) == TRUTH


def test_yolo_polygons_become_the_boxes_around_them(tmp_path: Path) -> None:
    files = {**FORMATS["yolo"], "labels/a.txt": "0 0.1 0.5 0.3 0.25 0.5 0.75\n1 0 0 1 0 1 1 0 1"}
    dataset = open_dataset(write(tmp_path, files), strict=True)

    assert {key: boxes_of(dataset)[key] for key in TRUTH} == TRUTH


def test_rounded_yolo_boxes_are_moved_onto_the_edge_of_a_large_image(tmp_path: Path) -> None:
    """Six decimals of 3,001 pixels are off by up to 0.0045."""
    write(tmp_path, {"classes.txt": "cat", "labels/wide.txt": "0 0.833389 0.500000 0.333223 1.000001"})
    for stem in "ab":
        (tmp_path / "images" / f"{stem}.png").unlink()
    paint(tmp_path / "images" / "wide.png", (3001, 7))
    (record,) = open_dataset(tmp_path, strict=True).records

    np.testing.assert_allclose(record.boxes_xyxy, [[2001, 0, 3001, 7]], atol=5e-3)
    assert record.boxes_xyxy[0, 2] <= 3001 and record.boxes_xyxy[0, 1] == 0 and record.boxes_xyxy[0, 3] == 7


def test_half_a_pixel_over_the_edge_is_rounding_and_more_is_not(tmp_path: Path) -> None:
    rows = ["a.png,cat,-0.4,2,9,32.4", "a.png,cat,1,-0.6,9,9", "a.png,cat,1,1,40.6,9"]
    dataset = open_dataset(write(tmp_path, {"boxes.csv": "\n".join(rows)}))

    assert [record.boxes_xyxy.tolist() for record in dataset.records] == [[[0, 2, 9, 32]]]
    assert [problem.line for problem in dataset.problems] == [2, 3]


def test_voc_counted_from_zero_on_request(tmp_path: Path) -> None:
    shifted = VOC_A.replace("<xmin>1<", "<xmin>0<").replace("<ymin>1<", "<ymin>0<")
    shifted = shifted.replace("<xmin>5<", "<xmin>4<").replace("<ymin>9<", "<ymin>8<")
    dataset = open_dataset(write(tmp_path, {"a.xml": shifted}), voc_origin=0, strict=True)

    assert boxes_of(dataset) == {key: TRUTH[key] for key in TRUTH if key[0] == "a"}


@pytest.mark.parametrize("name", ["voc", "coco", "yolo"])
def test_supervision_reads_the_same_boxes(name: str, tmp_path: Path) -> None:
    supervision = pytest.importorskip("supervision", reason="needs the dev group")
    folder = write(tmp_path, FORMATS[name])
    images = str(folder / "images")
    read = {
        "voc": lambda: supervision.DetectionDataset.from_pascal_voc(images, str(folder)),
        "coco": lambda: supervision.DetectionDataset.from_coco(images, str(folder / "instances.json")),
        "yolo": lambda: supervision.DetectionDataset.from_yolo(
            images, str(folder / "labels"), str(folder / "data.yaml")
        ),
    }[name]()
    ours = boxes_of(open_dataset(folder))

    theirs: dict[tuple[str, str], list[list[float]]] = {}
    for path, _, detections in read:
        for box, class_id in zip(detections.xyxy, detections.class_id, strict=True):
            theirs.setdefault((Path(path).stem, read.classes[class_id]), []).append(box.tolist())
    assert set(ours) == set(theirs)
    for key, boxes in ours.items():
        np.testing.assert_allclose(boxes, theirs[key], atol=1e-4)


def test_the_photos_of_the_shared_set(assets: Path) -> None:
    dataset = open_dataset(assets / "wsol", strict=True)

    assert dataset.labels == ("airplane", "face", "motorcycle", "raccoon")
    assert len(dataset.records) == 320
    assert sum(len(record.boxes_xyxy) for record in dataset.records) == 324
    assert dataset.images_with_several_boxes == 4
    assert len(dataset.single_box().records) == 316
    assert dataset.single_box().images_with_several_boxes == 0
