"""Players: every pixel that shows the image belongs to one, and what is no partition is refused."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from onnxplain.errors import OnnxplainError
from onnxplain.explainers.masked import players as players_module
from onnxplain.explainers.masked.black_box import View
from onnxplain.explainers.masked.players import check_players, place_players, seen_window
from onnxplain.explainers.masked.quadtree import split_by_detail
from onnxplain.runtime.geometry import make_frame

RNG = np.random.default_rng(2)


def view_of(image_hw: tuple[int, int], input_hw: tuple[int, int], resize: str, pixels=None) -> View:
    given = RNG.normal(size=(3, *input_hw)).astype(np.float32) if pixels is None else pixels
    return View(given, np.zeros((3, 1, 1), np.float32), make_frame(image_hw, input_hw, resize))


@pytest.mark.parametrize("resize", ["stretch", "letterbox", "crop"])
@pytest.mark.parametrize("kind", ["grid", "superpixels", "quadtree"])
@pytest.mark.parametrize("image_hw", [(40, 50), (60, 25), (3, 200)])
def test_what_shows_the_image_is_divided_and_nothing_else(kind: str, image_hw: tuple[int, int], resize: str) -> None:
    view = view_of(image_hw, (32, 48), resize)
    placed = place_players(kind, 16, view)
    window = seen_window(view.frame)
    labels, outside = placed.masks.labels, np.ones((32, 48), bool)
    outside[window] = False
    assert set(np.unique(labels[window])) == set(range(placed.count))
    assert (labels[outside] == placed.count).all()
    assert 2 <= placed.count <= 40
    assert (resize == "letterbox") == bool(outside.any())


def test_cells_of_a_grid_are_as_equal_as_pixels_allow() -> None:
    placed = place_players("grid", 60, view_of((33, 50), (33, 50), "stretch"))
    sizes = np.bincount(placed.masks.labels.ravel())
    assert (placed.count, placed.name) == (64, "grid of 8 × 8")
    assert sizes.max() <= 5 * 7 and sizes.min() >= 4 * 6
    fine = place_players("grid", 10_000, view_of((3, 4), (3, 4), "stretch"))
    assert (fine.count, fine.name) == (12, "grid of 3 × 4")


def test_a_quadtree_is_fine_where_the_detail_is() -> None:
    pixels = np.zeros((3, 64, 64), np.float32)
    pixels[:, 40:48, 8:16] = RNG.normal(size=(3, 8, 8))
    labels = split_by_detail(pixels, 22)
    sizes = np.bincount(labels.ravel())
    assert len(sizes) <= 22
    assert sizes.sum() == 64 * 64
    assert sizes[labels[40:48, 8:16]].max() <= 16
    assert sizes[labels[0, 63]] == 32 * 32
    for label in range(len(sizes)):
        y, x = np.nonzero(labels == label)
        assert len(y) == np.ptp(y, axis=0).item() * np.ptp(x).item() + np.ptp(y).item() + np.ptp(x).item() + 1


def test_a_quadtree_without_detail_is_a_grid() -> None:
    sizes = np.bincount(split_by_detail(np.ones((1, 32, 32), np.float32), 16).ravel())
    assert sizes.tolist() == [64] * 16


def test_superpixels_keep_to_edges() -> None:
    pixels = np.zeros((3, 40, 40), np.float32)
    pixels[0, :, 13:] = 2
    labels = place_players("superpixels", 12, view_of((40, 40), (40, 40), "stretch", pixels)).masks.labels
    for label in np.unique(labels):
        assert len(np.unique(pixels[0][labels == label])) == 1


def test_without_scikit_image_there_are_cells_and_the_name_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(players_module, "has_superpixels", lambda: False)
    placed = place_players("superpixels", 50, view_of((40, 60), (32, 48), "stretch"))
    assert (placed.count, placed.name) == (49, "grid of 7 × 7 (superpixels need scikit-image)")


@pytest.mark.parametrize("resize", ["stretch", "letterbox", "crop"])
def test_a_label_map_lies_where_the_image_lies(resize: str) -> None:
    """The label of a pixel of the input is that of the pixel of the image under its centre."""
    label_map = np.repeat(np.repeat(RNG.integers(0, 9, (4, 6)), 15, axis=0), 15, axis=1)
    view = view_of(label_map.shape, (32, 48), resize)
    placed = place_players(label_map, 2, view)
    numbers = np.unique(label_map)
    rows, columns = seen_window(view.frame)
    for y in range(rows.start, rows.stop):
        for x in range(columns.start, columns.stop):
            (left, top, _, _) = view.frame.boxes_to_image([[x + 0.5, y + 0.5, x + 0.5, y + 0.5]])[0]
            under = label_map[int(np.clip(top, 0, 59)), int(np.clip(left, 0, 89))]
            assert numbers[placed.masks.labels[y, x]] == under
    assert placed.name == "label map"


def test_a_label_map_may_be_a_file(tmp_path: Path) -> None:
    labels = np.arange(12).repeat(200).reshape(40, 60).astype(np.uint8)
    np.save(tmp_path / "labels.npy", labels.astype(np.int32))
    Image.fromarray(labels).save(tmp_path / "labels.png")
    view = view_of((40, 60), (32, 48), "stretch")
    expected = place_players(labels, 9, view).masks.labels
    np.save(tmp_path / "halves.npy", labels < 6)
    halves = place_players(tmp_path / "halves.npy", 9, view).masks.labels
    np.testing.assert_array_equal(halves, place_players((labels < 6).astype(int), 9, view).masks.labels)
    for name in ("labels.npy", "labels.png"):
        check_players(str(tmp_path / name), 9)
        np.testing.assert_array_equal(place_players(tmp_path / name, 9, view).masks.labels, expected)
    Image.fromarray(np.zeros((40, 60, 3), np.uint8)).save(tmp_path / "colours.png")
    (tmp_path / "text.png").write_text("no picture")
    (tmp_path / "text.npy").write_text("no array")
    for name, found in (
        ("colours.png", r"\(uint8 \(40, 60, 3\)\)"),
        ("text.png", "which Pillow cannot"),
        ("text.npy", "which numpy cannot"),
    ):
        with pytest.raises(OnnxplainError, match=rf"^players: found .*{name},? ?{found}.*, expected a label map"):
            place_players(tmp_path / name, 9, view)


def test_values_are_painted_on_their_pixels() -> None:
    placed = place_players("grid", 4, view_of((20, 10), (16, 16), "letterbox"))
    painted = placed.masks.paint_values(np.array([[1.0, 2.0, 3.0, 4.0], [0.0, 0.0, 5.0, 0.0]]))
    assert (painted.dtype, painted.shape) == (np.float32, (2, 16, 16))
    assert painted[0, 0].tolist() == [0] * 4 + [1] * 4 + [2] * 4 + [0] * 4
    assert painted[1, 15].tolist() == [0] * 4 + [5] * 4 + [0] * 8


@pytest.mark.parametrize(
    ("players", "count", "message"),
    [
        ("squares", 9, r"^players: found 'squares', expected one of grid, superpixels, quadtree, or a label map"),
        ("grid", 1, "^cells: found 1, expected at least 2$"),
        (np.zeros((4, 4)), 9, r"^players: found an array \(float64 \(4, 4\)\), expected a label map in the size"),
        (np.zeros(4, int), 9, r"^players: found an array \(int64 \(4,\)\), expected a label map"),
        (3, 9, "^players: found '3', expected one of grid"),
        ("x" * 5000, 9, "^players: found 'xxx"),
    ],
)
def test_what_are_no_players(players, count: int, message: str) -> None:
    with pytest.raises(OnnxplainError, match=message):
        check_players(players, count)


def test_what_is_no_partition_of_this_image() -> None:
    view = view_of((40, 60), (32, 48), "stretch")
    with pytest.raises(OnnxplainError, match=r"^players: found a label map of 40 × 61 for an image of 40 × 60"):
        place_players(np.zeros((40, 61), int), 2, view)
    with pytest.raises(OnnxplainError, match=r"^players: found 1 \(label map\), expected at least 2 in the part"):
        place_players(np.full((40, 60), 7), 2, view)
    flat = view_of((40, 60), (1, 1), "stretch", np.zeros((3, 1, 1), np.float32))
    for kind in ("grid", "superpixels", "quadtree"):
        with pytest.raises(OnnxplainError, match=r"^players: found 1 \(.*\), expected at least 2"):
            place_players(kind, 9, flat)
