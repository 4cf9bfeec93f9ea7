"""Annotations stay in their data set: names and links that lead out are refused, and no other file is quoted."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from PIL import Image

from onnxplain.data import open_dataset
from onnxplain.errors import OnnxplainError

SECRET = "s3cr3t:x:0:0"
CSV = "file,label,xmin,ymin,xmax,ymax\n"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A data set with one good image, beside a photo and a secret that are not in it."""
    folder = tmp_path / "data"
    folder.mkdir()
    for path in (folder / "good.png", tmp_path / "photo.png"):
        Image.new("RGB", (16, 16), "red").save(path)
    (tmp_path / "secret").write_text(f"{SECRET}\n")
    (folder / "link.png").symlink_to("../photo.png")
    (folder / "inside.png").symlink_to("good.png")
    (folder / "linked").symlink_to("..")
    return folder


# name, whether it is outside
NAMES = [
    ("good.png", False),
    ("./good.png", False),
    ("linked/data/good.png", False),
    ("../data/good.png", False),
    ("../photo.png", True),
    ("{outer}/photo.png", True),
    ("link.png", True),
    ("linked/photo.png", True),
    ("../secret", True),
]


@pytest.mark.parametrize(("name", "outside"), NAMES)
def test_names_that_lead_out_are_refused(name: str, outside: bool, folder: Path) -> None:
    stated = name.format(outer=folder.parent)
    (folder / "boxes.csv").write_text(f"{CSV}good.png,a,1,1,5,5\n{stated},b,1,1,5,5\n")
    problems = [str(each) for each in open_dataset(folder).problems if "already annotated" not in str(each)]
    assert len(problems) == outside, problems
    assert all("--allow-outside" in each and SECRET not in each for each in problems)
    allowed = open_dataset(folder, allow_outside=True).problems
    assert all("s3cr3t" not in str(each) for each in allowed)
    assert not any("--allow-outside" in str(each) for each in allowed)


def test_a_folder_of_images_is_the_bound_for_them(folder: Path) -> None:
    (folder / "boxes.csv").write_text(f"{CSV}photo.png,a,1,1,5,5\ndata/good.png,b,1,1,5,5\n../x.png,c,1,1,5,5\n")
    dataset = open_dataset(folder, images=folder.parent)
    assert [record.label for record in dataset.records] == ["a", "b"]


@pytest.mark.parametrize(
    ("format", "files", "linked"),
    [
        ("csv", {}, "boxes.csv"),
        ("wsol", {"class_labels.txt": "good.png,0\n"}, "image_ids.txt"),
        ("wsol", {"image_ids.txt": "good.png\n"}, "class_labels.txt"),
        ("yolo", {"labels/good.txt": "0 0.5 0.5 0.5 0.5\n"}, "classes.txt"),
        ("yolo", {"classes.txt": "a\n"}, "labels/good.txt"),
        ("coco", {}, "instances.json"),
        ("voc", {}, "good.xml"),
    ],
)
@pytest.mark.parametrize("strict", [True, False])
def test_links_to_files_outside_are_not_read(
    format: str, files: dict[str, str], linked: str, strict: bool, folder: Path
) -> None:
    for name, content in files.items():
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_text(content)
    (folder / linked).parent.mkdir(exist_ok=True)
    (folder / linked).symlink_to(folder.parent / "secret")
    try:
        said = [str(problem) for problem in open_dataset(folder, format=format, strict=strict).problems]
    except OnnxplainError as error:
        said = [str(error)]
    assert any("outside of the data set" in line for line in said), said
    assert not any("s3cr3t" in line for line in said)


@pytest.mark.parametrize("format", [None, "csv"])
def test_the_wrong_file_is_not_quoted(format: str | None, folder: Path) -> None:
    (folder / "boxes.csv").write_text(f"{SECRET}\n")
    with pytest.raises(OnnxplainError) as caught:
        open_dataset(folder / "boxes.csv", format=format)
    assert "s3cr3t" not in str(caught.value)


def test_layouts_with_images_beside_annotations_are_inside(folder: Path) -> None:
    for name in ("labels", "images"):
        (folder / name).mkdir()
    (folder / "good.png").rename(folder / "images" / "good.png")
    (folder / "labels" / "good.txt").write_text("0 0.5 0.5 0.5 0.5\n")
    (folder / "labels" / "classes.txt").write_text("a\n")
    assert len(open_dataset(folder / "labels", format="yolo").records) == 1
    (folder / "images").rename(folder.parent / "elsewhere")
    (folder / "images").symlink_to("../elsewhere")
    with pytest.raises(OnnxplainError):
        open_dataset(folder / "labels", format="yolo", strict=True)


def test_a_pipe_in_a_data_set_is_not_waited_for(folder: Path) -> None:
    os.mkfifo(folder / "boxes.csv")
    with pytest.raises(OnnxplainError, match="named pipe"):
        open_dataset(folder, format="csv")


def test_masks_and_their_names_stay_in_the_data_set(folder: Path) -> None:
    for name in ("images", "masks"):
        (folder / name).mkdir()
        Image.new("L", (16, 16), 1).save(folder / name / "good.png")
    Image.new("L", (16, 16), 1).save(folder.parent / "outer.png")
    (folder / "masks" / "link.png").symlink_to("../../outer.png")
    (problem,) = open_dataset(folder / "masks").problems
    assert "link.png: found a link to a file outside of the data set" in str(problem)
    (folder / "classes.txt").symlink_to("../secret")
    with pytest.raises(OnnxplainError, match="link to a file outside") as raised:
        open_dataset(folder / "masks")
    assert SECRET not in str(raised.value)
