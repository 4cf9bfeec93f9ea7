from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("torch", reason="needs the train extra")

from PIL import Image

from onnxplain.data import DataSet, open_dataset
from onnxplain.errors import OnnxplainError
from onnxplain.training.parts import open_parts
from tests.training.shapes import write_shapes


def names(dataset: DataSet | None) -> set[str]:
    assert dataset is not None
    return {record.name for record in dataset.records}


def test_parts_share_no_image_and_the_test_part_is_the_one_of_open_dataset(tmp_path: Path) -> None:
    source = write_shapes(tmp_path, 40)
    parts = open_parts(source, seed=3)
    sizes = [len(names(part)) for part in (parts.train, parts.validation, parts.test)]

    assert sizes == [27, 5, 8]
    assert names(parts.train) | names(parts.validation) | names(parts.test) == {f"{n:02}" for n in range(40)}
    assert names(parts.test) == names(open_dataset(source, split="test", seed=3))
    assert names(open_parts(source, seed=3).train) == names(parts.train) != names(open_parts(source, seed=4).train)


def test_lists_of_names_divide(tmp_path: Path) -> None:
    source = write_shapes(tmp_path, 8)
    lists = [tmp_path / name for name in ("train.txt", "val.txt", "test.txt")]
    for path, content in zip(lists, ("00\n01\n02\nghost\n", "03.png\n04\n", "05\n"), strict=True):
        path.write_text(content)
    parts = open_parts(source, lists=lists)

    assert [names(part) for part in (parts.train, parts.validation, parts.test)] == [
        {"00", "01", "02"},
        {"03", "04"},
        {"05"},
    ]
    assert [(problem.path.name, problem.line) for problem in parts.problems] == [("train.txt", 4)]
    assert open_parts(source, lists=lists[:2]).test is None
    with pytest.raises(OnnxplainError, match="1 lists, expected two"):
        open_parts(source, lists=lists[:1])
    with pytest.raises(OnnxplainError, match="ghost"):
        open_parts(source, lists=lists, strict=True)


@pytest.mark.parametrize("own", [("train", "val", "test"), ("train", "test"), ("train", "val")])
def test_parts_of_a_data_sets_own_are_kept(own: tuple[str, ...], tmp_path: Path) -> None:
    for part in own:
        write_shapes(tmp_path / part, 10)
        for path in (tmp_path / part).glob("*.png"):
            path.rename(path.with_name(f"{part}-{path.name}"))
        text = (tmp_path / part / "boxes.csv").read_text().splitlines()
        (tmp_path / part / "boxes.csv").write_text("\n".join([text[0], *(f"{part}-{line}" for line in text[1:])]))
    parts = open_parts(tmp_path)
    found = {
        name: {record.rpartition("-")[0] for record in names(part)}
        for name, part in (("train", parts.train), ("validation", parts.validation), ("test", parts.test))
        if part is not None
    }
    expected = {"train": {"train"}, "validation": {"val" if "val" in own else "train"}}
    assert found == (expected | {"test": {"test"}} if "test" in own else expected)
    assert not names(parts.train) & names(parts.validation)


def test_a_data_set_without_a_part_to_learn_from_is_refused(tmp_path: Path) -> None:
    write_shapes(tmp_path / "val", 4)
    write_shapes(tmp_path / "test", 4)
    with pytest.raises(OnnxplainError, match="expected train among them"):
        open_parts(tmp_path)


def test_images_of_several_boxes_are_scored_but_not_learnt_from(tmp_path: Path) -> None:
    source = write_shapes(tmp_path, 9, boxes=2)
    lists = [tmp_path / "first.txt", tmp_path / "second.txt"]
    lists[0].write_text("00\n01\n02\n03\n")
    lists[1].write_text("04\n05\n")
    learnt = open_parts(source, lists=lists).usable("boxes")
    scored = open_parts(source, lists=lists[::-1]).usable("boxes")

    assert names(learnt.train) == {"01", "02", "03"}
    assert learnt.left_out[0] == (1, "with several boxes")
    assert "00" in names(scored.validation)
    assert "00" in names(open_parts(source, lists=lists).usable("labels").train)


def test_images_of_several_classes_are_left_out(tmp_path: Path) -> None:
    source = write_shapes(tmp_path, 20)
    with source.open("a") as stream:
        stream.writelines(f"{number:02}.png,{'red' if number % 2 == 0 else 'blue'},0,0,5,5\n" for number in range(6))
    parts = open_parts(source).usable("labels")
    used = [names(part) for part in (parts.train, parts.validation, parts.test)]

    assert set.union(*used) == {f"{number:02}" for number in range(6, 20)}
    assert parts.left_out[0][0] > 0


def test_labels_without_boxes_say_how_to_learn_from_them(tmp_path: Path) -> None:
    for label in ("cat", "dog"):
        (tmp_path / label).mkdir()
        for number in range(8):
            pixels = np.random.default_rng(number).integers(0, 255, (9, 9, 3), np.uint8)
            Image.fromarray(pixels).save(tmp_path / label / f"{label}{number}.png")
    parts = open_parts(tmp_path)
    with pytest.raises(OnnxplainError, match="learn from labels alone"):
        parts.usable("boxes")
    assert len(parts.usable("labels").train.records) == 11


def test_one_class_cannot_be_learnt_from_labels_alone(tmp_path: Path) -> None:
    source = write_shapes(tmp_path, 12)
    source.write_text(source.read_text().replace("blue", "red"))
    parts = open_parts(source)

    assert parts.usable("boxes").train.labels == ("red",)
    with pytest.raises(OnnxplainError, match="expected at least 2"):
        parts.usable("labels")
