from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from onnxplain.data import DataSet, Problem, Record, load_images, mosaics
from onnxplain.data.problem import ProblemError
from onnxplain.errors import OnnxplainError
from tests.data.written import paint

GREY = 128
COLOURS = {"red": (255, 0, 0), "green": (0, 255, 0), "blue": (0, 0, 255)}


def painted(label: str, number: int) -> Record:
    """A grey image of some size with a rectangle in the colour of its label."""
    rng = np.random.default_rng([number, sorted(COLOURS).index(label)])
    height, width = (int(side) for side in rng.integers(100, 300, 2))
    x1, y1 = int(rng.integers(0, width // 2)), int(rng.integers(0, height // 2))
    x2, y2 = int(rng.integers(x1 + 30, width + 1)), int(rng.integers(y1 + 30, height + 1))
    image_hwc = np.full((height, width, 3), GREY, np.uint8)
    image_hwc[y1:y2, x1:x2] = COLOURS[label]
    return Record(image_hwc, label, np.array([[x1, y1, x2, y2]]), f"{label}-{number}")


def make(labels: tuple[str, ...] = tuple(COLOURS), count: int = 6) -> DataSet:
    return DataSet("painted", labels, [painted(label, number) for label in labels for number in range(count)])


@pytest.mark.parametrize("size_hw", [(448, 448), (301, 400), (64, 333)])
def test_the_box_lies_around_the_pixels_of_the_asked_class_alone(size_hw: tuple[int, int]) -> None:
    for record in mosaics(make(), 30, seed=1, size_hw=size_hw).records:
        image_hwc = record.load()
        distance = np.abs(image_hwc.astype(int) - COLOURS[record.label]).max(axis=2)
        # Half of the way to grey: where the edge of the box falls within the pixel.
        rows, columns = np.nonzero(distance < GREY / 2)
        tight = [columns.min(), rows.min(), columns.max() + 1, rows.max() + 1]

        assert image_hwc.shape == (*size_hw, 3)
        np.testing.assert_allclose(record.boxes_xyxy, [tight], atol=1)


def test_a_mosaic_asks_for_one_class_and_shows_three_images_of_others() -> None:
    cells, asked = set(), set()
    for record in mosaics(make(), 60, seed=0, size_hw=(100, 140)).records:
        image_hwc = record.load()
        quarters = [image_hwc[y : y + 50, x : x + 70] for y in (0, 50) for x in (0, 70)]
        shows = [(quarter == COLOURS[record.label]).all(axis=2).any() for quarter in quarters]
        assert sum(shows) == 1
        assert all((quarter.max(axis=2) > quarter.min(axis=2) + 60).any() for quarter in quarters)
        cells.add(shows.index(True))
        asked.add(record.label)

    assert cells == {0, 1, 2, 3}
    assert asked == set(COLOURS)


def test_a_mosaic_depends_on_seed_and_number_alone() -> None:
    dataset = make()
    later, alone = mosaics(dataset, 9, seed=5).records[3:][1], mosaics(dataset, 5, seed=5).records[-1]

    assert later.name == alone.name == "mosaic-5-4"
    np.testing.assert_array_equal(later.load(), alone.load())
    np.testing.assert_array_equal(later.boxes_xyxy, alone.boxes_xyxy)
    assert (mosaics(dataset, 5, seed=6).records[4].load() != alone.load()).any()
    with pytest.raises(IndexError):
        mosaics(dataset, 5).records[5]


def test_all_boxes_of_the_asked_class_move_and_images_that_show_it_are_no_others() -> None:
    image_hwc = np.full((100, 200, 3), GREY, np.uint8)
    both = [Record(image_hwc, label, np.array([[0, 0, 10, 10], [100, 50, 200, 100]])) for label in ("red", "green")]
    shared = [Record(Path("both.png"), each.label, each.boxes_xyxy, f"both#{each.label}") for each in both]
    plain = [Record(image_hwc, "blue", np.empty((0, 4)), f"blue-{number}") for number in range(3)]
    drawn = mosaics(DataSet("made", ("red", "green", "blue"), [both[0], *plain]), 20, size_hw=(100, 200)).records

    for record in drawn:
        assert record.label == "red"
        np.testing.assert_allclose(record.boxes_xyxy[1] - record.boxes_xyxy[0], [50, 25, 95, 45])
        assert np.isin(record.boxes_xyxy[0, :2], (0, 50, 100)).all()
    with pytest.raises(OnnxplainError, match="found 2 images without 'red'"):
        mosaics(DataSet("made", ("red", "green", "blue"), [*shared, *plain[:2]]), 1)


def test_a_mosaic_of_an_unreadable_image_is_left_out_and_named(tmp_path: Path) -> None:
    records = [Record(paint(tmp_path / f"{n}.png"), f"{n % 2}", np.array([[0, 0, 4, 4]])) for n in range(8)]
    (tmp_path / "3.png").write_bytes((tmp_path / "3.png").read_bytes()[:50])
    dataset = mosaics(DataSet("made", ("0", "1"), records), 12, size_hw=(20, 20))
    problems: list[Problem] = []
    drawn = list(load_images(dataset.records, problems))

    assert {problem.path for problem in problems} == {tmp_path / "3.png"}
    assert len(drawn) + len(problems) == 12 and drawn
    with pytest.raises(ProblemError, match=r"3\.png"):
        list(dataset.records)


@pytest.mark.parametrize(
    ("dataset", "count", "seed", "size_hw", "message"),
    [
        (make(), -1, 0, (8, 8), "count -1"),
        (make(), 0, 0, (8, 8), "no usable image"),
        (make(), 1, -1, (8, 8), "seed -1"),
        (make(), 1, 0, (1, 8), "size 1x8"),
        (make(("red",)), 1, 0, (8, 8), "0 images without 'red'"),
        (DataSet("plain", ("red",), [Record(Path("a.png"), "red", np.empty((0, 4)))]), 1, 0, (8, 8), "no box in plain"),
    ],
)
def test_bad_arguments_are_refused(
    dataset: DataSet, count: int, seed: int, size_hw: tuple[int, int], message: str
) -> None:
    with pytest.raises(OnnxplainError, match=message):
        mosaics(dataset, count, seed, size_hw)
