from __future__ import annotations

from collections import Counter
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from onnxplain.data import DataSet, Record, split, split_by_lists, write_lists
from onnxplain.errors import OnnxplainError

LABELS = ("cat", "dog", "cow")


def make(counts: dict[str, int], both: int = 0) -> DataSet:
    """So many images of each class, and `both` images that show a cat and a dog."""
    shown = [(f"{label}/{i}", label) for label, count in counts.items() for i in range(count)]
    shown += [(f"both/{i}", label) for i in range(both) for label in ("cat", "dog")]
    records = [Record(Path(f"{name}.jpg"), label, np.zeros((0, 4)), f"{name}#{label}") for name, label in shown]
    return DataSet("made", LABELS, records)


def images(dataset: DataSet) -> set[Path]:
    return {record.image for record in dataset.records}


@pytest.mark.parametrize("shares", [(0.8, 0.2), (0.5, 0.5), (0.7, 0.1, 0.2)])
@pytest.mark.parametrize("counts", [{"cat": 40, "dog": 17, "cow": 3}, {"cat": 101}, {"cat": 10, "dog": 10, "cow": 10}])
def test_sides_share_no_image_and_have_their_share_of_every_class(
    counts: dict[str, int], shares: tuple[float, ...]
) -> None:
    dataset = make(counts, both=6)
    sides = split(dataset, shares, seed=1)

    assert sum(len(images(side)) for side in sides) == len(images(dataset))
    assert set().union(*(images(side) for side in sides)) == images(dataset)
    for side, share in zip(sides, shares, strict=True):
        assert abs(len(images(side)) - share * len(images(dataset))) < 1
        first = Counter(min(each.label for each in side.records if each.image == image) for image in images(side))
        for label, count in counts.items():
            assert abs(first[label] - share * (count + 6 * (label == "cat"))) < 2


def test_a_split_depends_on_seed_and_images_alone() -> None:
    dataset = make({"cat": 30, "dog": 30}, both=5)
    turned = replace(dataset, records=dataset.records[::-1])

    assert [images(side) for side in split(dataset, seed=4)] == [images(side) for side in split(turned, seed=4)]
    assert images(split(dataset, seed=4)[0]) != images(split(dataset, seed=5)[0])


@pytest.mark.parametrize(
    ("shares", "seed", "message"),
    [
        ((1.0,), 0, "sum to 1"),
        ((0.5, 0.6), 0, "sum to 1"),
        ((1.2, -0.2), 0, "positive"),
        ((0.8, 0.2), -1, "seed"),
        ((0.98, 0.02), 0, "10 images, expected at least one per share"),
    ],
)
def test_shares_that_cannot_be_are_refused(shares: tuple[float, ...], seed: int, message: str) -> None:
    with pytest.raises(OnnxplainError, match=message):
        split(make({"cat": 10}), shares, seed)


def test_lists_divide_by_name_path_and_stem(tmp_path: Path) -> None:
    dataset = make({"cat": 3, "dog": 2}, both=1)
    lists = [tmp_path / "train.txt", tmp_path / "test.txt"]
    lists[0].write_text("cat/0.jpg\ncat/1\n\nboth/0\n")
    lists[1].write_text("2\ndog/0.jpg\ndog/1#dog\n")
    train, test = split_by_lists(dataset, [f"{path}" for path in lists], strict=True)

    assert [record.name for record in train.records] == ["cat/0#cat", "cat/1#cat", "both/0#cat", "both/0#dog"]
    assert images(test) == {Path("cat/2.jpg"), Path("dog/0.jpg"), Path("dog/1.jpg")}
    assert (train.skipped, test.name) == (0, "made (test)")


@pytest.mark.parametrize(
    ("listed", "problems"),
    [
        (["cat/0\ncat/9", "dog/0"], [["train.txt:2: found 'cat/9', the name of 0 images"], []]),
        (["cat/0\n0\n", "dog/0"], [["train.txt:2: found '0', the name of 2 images"], []]),
        (["cat/0\ncat/1", "dog/0\ncat/1\ndog/0.jpg"], [[], ["train.txt:2 already lists", "test.txt:1 already lists"]]),
    ],
)
def test_names_that_cannot_be_followed_are_reported(
    listed: list[str], problems: list[list[str]], tmp_path: Path
) -> None:
    lists = [tmp_path / "train.txt", tmp_path / "test.txt"]
    for path, text in zip(lists, listed, strict=True):
        path.write_text(text)
    dataset = make({"cat": 2, "dog": 2})
    sides = split_by_lists(dataset, lists)

    for side, messages in zip(sides, problems, strict=True):
        assert side.skipped == len(messages)
        assert all(message in f"{found}" for found, message in zip(side.problems, messages, strict=True))
    with pytest.raises(OnnxplainError, match=next(message for side in problems for message in side)):
        split_by_lists(dataset, lists, strict=True)


@pytest.mark.parametrize(("text", "message"), [("", "empty file"), ("bird\n", "found no image of made")])
def test_an_empty_side_is_refused(text: str, message: str, tmp_path: Path) -> None:
    (tmp_path / "train.txt").write_text(text)

    with pytest.raises(OnnxplainError, match=message):
        split_by_lists(make({"cat": 2}), [tmp_path / "train.txt"])


def test_a_division_that_was_written_is_found_again(tmp_path: Path) -> None:
    """Images of one name in two folders, one of them the end of the other's path; each listed once."""
    names = ["0.jpg", "cat/0.jpg", "dog/0.jpg", "dog/1.jpg", "dog/1.png", "deep/dog/0.jpg"]
    boxes = np.zeros((0, 4))
    records = [Record(Path("all") / name, label, boxes, name) for name in names for label in ("cat", "dog")]
    records.append(Record(np.zeros((2, 2, 3), np.uint8), "cow", boxes, "drawn"))
    whole = DataSet("made", LABELS, records)
    sides = {"train": records[:6], "test": records[6:]}
    paths = write_lists(whole, sides, tmp_path / "new" / "folder")

    assert [path.name for path in paths] == ["train.txt", "test.txt"]
    assert paths[1].read_text() == "1.jpg\n1.png\ndeep/dog/0.jpg\ndrawn\n"
    for side, found in zip(sides.values(), split_by_lists(whole, paths, strict=True), strict=True):
        assert [record.name for record in found.records] == [record.name for record in side]
    with pytest.raises(OnnxplainError, match="no name that only this image has"):
        write_lists(whole, {"train": [Record(Path("other.jpg"), "cat", boxes)]}, tmp_path)
    (tmp_path / "file").write_text("")
    with pytest.raises(OnnxplainError, match="cannot be written"):
        write_lists(whole, sides, tmp_path / "file")
