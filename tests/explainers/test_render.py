from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image

from onnxplain.errors import OnnxplainError
from onnxplain.explainers.drawing.colours import COLORMAPS, blend, colourise
from onnxplain.explainers.drawing.marks import MINIMUM_SIDE, Mark, annotate, caption
from onnxplain.explainers.drawing.sheet import make_sheet, save_png
from onnxplain.files.atomic import write_atomically


def photo(size_hw: tuple[int, int], seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (*size_hw, 3), dtype=np.uint8)


def heat(size_hw: tuple[int, int]) -> np.ndarray:
    return np.linspace(0, 1, size_hw[0] * size_hw[1], dtype=np.float32).reshape(size_hw)


@pytest.mark.parametrize("name", ["turbo", "viridis", "inferno", "magma", "plasma", "jet"])
def test_colours_are_opencvs_in_rgb_order(name: str) -> None:
    levels = np.arange(256, dtype=np.uint8)[None]
    expected = cv2.applyColorMap(levels, COLORMAPS[name])[..., ::-1]
    np.testing.assert_array_equal(colourise(levels.astype(np.float32) / 255, name), expected)


def test_turbo_runs_from_blue_to_red() -> None:
    cold, hot = colourise(np.array([[0.15, 0.95]], np.float32), "turbo")[0].astype(int)
    assert cold[2] > cold[0]
    assert hot[0] > hot[2]


@pytest.mark.parametrize("alpha", [0.0, 0.3, 0.5, 1.0])
def test_the_opacity_follows_the_heat(alpha: float) -> None:
    image, heatmap = photo((17, 23)), heat((17, 23))
    opacity = alpha * heatmap[..., None]
    expected = (1 - opacity) * image + opacity * colourise(heatmap).astype(float)
    assert np.abs(blend(image, heatmap, alpha=alpha) - expected).max() <= 0.5 + 1e-3


@pytest.mark.parametrize("name", ["inferno", "turbo", "jet", "bone"])
def test_no_heat_changes_no_pixel(name: str) -> None:
    image = photo((17, 23))
    np.testing.assert_array_equal(blend(image, np.zeros((17, 23), np.float32), name, alpha=1), image)


def test_blend_leaves_what_is_outside_the_window_and_its_argument_alone() -> None:
    image, heatmap = photo((17, 23)), heat((17, 23))
    before = image.copy()
    blended = blend(image, heatmap, window=(slice(2, 9), slice(5, 20)))
    outside = np.ones((17, 23), bool)
    outside[2:9, 5:20] = False
    np.testing.assert_array_equal(blended[outside], image[outside])
    assert (blended[~outside] != image[~outside]).any(axis=-1).mean() > 0.9
    np.testing.assert_array_equal(image, before)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (
            {"colormap": "turbow"},
            r"^colormap: found 'turbow' \(did you mean turbo\?\), expected one of .*viridis",
        ),
        ({"alpha": 1.5}, "^alpha: found 1.5"),
        ({"alpha": -0.1}, "^alpha: found -0.1"),
        ({"alpha": float("nan")}, "^alpha: found nan"),
        (
            {"heatmap_hw": heat((17, 22))},
            r"^overlay: found an image of \(17, 23\) for a heatmap of \(17, 22\)",
        ),
    ],
)
def test_blend_refuses(options: dict, message: str) -> None:
    with pytest.raises(OnnxplainError, match=message):
        blend(**{"image_hwc": photo((17, 23)), "heatmap_hw": heat((17, 23)), **options})


@pytest.mark.parametrize("size_hw", [(28, 28), (96, 40), (480, 700), (1500, 2000)])
def test_small_pictures_are_enlarged_to_the_minimum_side_and_others_keep_theirs(
    size_hw: tuple[int, int],
) -> None:
    annotated = annotate(photo(size_hw), [Mark((1, 2, 20, 30), "cat 0.93")])
    factor = max(1, MINIMUM_SIDE / min(size_hw))
    assert annotated.shape == (round(size_hw[0] * factor), round(size_hw[1] * factor), 3)
    assert annotated.dtype == np.uint8


def test_without_marks_a_large_picture_stays_as_it_is() -> None:
    image = photo((500, 600))
    np.testing.assert_array_equal(annotate(image, []), image)


@pytest.mark.parametrize("factor", [1, 4])
def test_the_box_is_drawn_where_it_lies(factor: int) -> None:
    size = 480 // factor
    image = np.full((size, size, 3), 90, np.uint8)
    box = (100 / factor, 200 / factor, 300 / factor, 400 / factor)
    drawn = (annotate(image, [Mark(box)]) != 90).any(axis=-1)
    rows, columns = np.flatnonzero(drawn.any(axis=1)), np.flatnonzero(drawn.any(axis=0))
    assert (columns[0], rows[0], columns[-1] + 1, rows[-1] + 1) == (100, 200, 300, 400)
    assert not drawn[220:380, 120:280].any()


@pytest.mark.parametrize(
    "box",
    [(0, 0, 500, 500), (-50, -50, 900, 900), (490, 490, 500, 500), (499, 0, 500, 1), (3, 3, 3, 3), None],
    ids=str,
)
@pytest.mark.parametrize("text", ["7 0.99", "a label far too long for any picture, " * 5, "é ß °"])
def test_text_is_whole_and_inside_the_picture(box, text: str) -> None:
    background = (10, 120, 10)
    image = np.full((500, 500, 3), background, np.uint8)
    with_text, without = annotate(image, [Mark(box, text)]), annotate(image, [Mark(box)])
    chip = (with_text != without).any(axis=-1)
    rows, columns = np.flatnonzero(chip.any(axis=1)), np.flatnonzero(chip.any(axis=0))
    inside = with_text[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
    assert len(rows) >= 15
    assert (inside == 255).all(axis=-1).mean() > 0.3, "a chip filled with the mark's colour"
    assert (inside < 60).all(axis=-1).mean() > 0.02, "dark letters on it"
    assert not (inside == background).all(axis=-1).any()


@pytest.mark.parametrize(
    ("score", "text"), [(0.934, "cat 0.93"), (1.0, "cat 1.00"), (0.005, "cat 0.01"), (0.0002, "cat <0.01")]
)
def test_caption(score: float, text: str) -> None:
    assert caption("cat", score) == text


@pytest.mark.parametrize("size_hw", [(1, 1), (1, 900), (900, 1), (2, 3), (3000, 4)])
def test_slivers_can_be_drawn(size_hw: tuple[int, int]) -> None:
    marks = [Mark((0, 0, size_hw[1], size_hw[0]), "thin 0.10"), Mark(None, "second")]
    annotated = annotate(photo(size_hw), marks)
    assert max(annotated.shape) <= 3000
    assert make_sheet([annotated, photo(size_hw)], ["photo", "grad-cam"]).shape[2] == 3


@pytest.mark.parametrize(
    ("columns", "places"),
    [
        (None, [(0, 0), (0, 1), (0, 2), (0, 3)]),
        (3, [(0, 0), (0, 1), (0, 2), (1, 0)]),
        (1, [(k, 0) for k in range(4)]),
    ],
)
def test_a_sheet_holds_every_picture_whole_and_in_its_place(columns: int | None, places: list) -> None:
    colours = [(200, 0, 0), (0, 200, 0), (0, 0, 200), (200, 0, 200)]
    images = [np.full((480, 600, 3), colour, np.uint8) for colour in colours]
    sheet = make_sheet(images, ["photo", "cam", "grad-cam", "rise"], columns)
    corners = []
    for colour in colours:
        ys, xs = np.nonzero((sheet == colour).all(axis=-1))
        assert (np.ptp(ys) + 1, np.ptp(xs) + 1, len(ys)) == (480, 600, 480 * 600)
        corners.append((ys.min(), xs.min()))
    rows, lefts = (sorted({corner[axis] for corner in corners}) for axis in (0, 1))
    assert [(rows.index(y), lefts.index(x)) for y, x in corners] == places
    assert tuple(sheet[-1, -1]) == (255, 255, 255)


@pytest.mark.parametrize(
    ("count", "columns", "size_hw", "places"),
    [
        # The photo and twelve methods: two lines of seven and six.
        (13, None, (480, 500), [divmod(k, 7) for k in range(13)]),
        # Two targets of six methods: each row takes two lines, and begins one.
        (14, 7, (480, 600), [(k // 7 * 2 + k % 7 // 4, k % 7 % 4) for k in range(14)]),
        # Pictures as wide as they are drawn.
        (4, None, (700, 1024), [divmod(k, 2) for k in range(4)]),
    ],
)
def test_a_sheet_is_never_wider_than_a_screen(count: int, columns: int | None, size_hw, places: list) -> None:
    images = [np.full((*size_hw, 3), (250, 20 + 5 * number, 0), np.uint8) for number in range(count)]
    sheet = make_sheet(images, ["title"] * count, columns)
    assert sheet.shape[1] <= 3840
    corners = [[axis.min() for axis in np.nonzero((sheet == image[0, 0]).all(axis=-1))] for image in images]
    rows, lefts = (sorted({corner[axis] for corner in corners}) for axis in (0, 1))
    assert [(rows.index(y), lefts.index(x)) for y, x in corners] == places


def test_titles_are_drawn_above_their_pictures() -> None:
    images = [np.full((480, 480, 3), 255, np.uint8)] * 2
    sheet = make_sheet(images, ["left", ""])
    dark = np.flatnonzero((sheet < 100).all(axis=-1).any(axis=0))
    assert len(dark)
    assert dark.max() < sheet.shape[1] / 2


@pytest.mark.parametrize(("count", "titles"), [(0, []), (2, ["one"]), (1, ["one", "two"])])
def test_a_sheet_needs_one_title_per_picture(count: int, titles: list[str]) -> None:
    with pytest.raises(OnnxplainError, match=r"^sheet: found .* expected one title per picture"):
        make_sheet([photo((5, 5))] * count, titles)


def test_png_reads_back_the_same_and_leaves_nothing_else_behind(tmp_path: Path) -> None:
    image = photo((31, 20))
    target = tmp_path / "out.png"
    save_png(target, photo((3, 3)))
    save_png(target, image)
    with Image.open(target) as reread:
        np.testing.assert_array_equal(np.array(reread), image)
    assert [path.name for path in tmp_path.iterdir()] == ["out.png"]


def test_a_write_that_fails_keeps_the_old_file_and_no_half_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    target = tmp_path / "out.bin"
    write_atomically(target, b"old")

    def full_disk(descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.fsync", full_disk)
    with pytest.raises(OnnxplainError, match=r"out\.bin: cannot be written \(No space left on device\)"):
        write_atomically(target, b"new and longer")
    assert target.read_bytes() == b"old"
    assert [path.name for path in tmp_path.iterdir()] == ["out.bin"]


def test_who_reads_while_it_is_written_sees_the_old_file_whole(tmp_path: Path) -> None:
    target = tmp_path / "out.bin"
    write_atomically(target, b"old")
    with target.open("rb") as reader:
        write_atomically(target, b"new and longer")
        assert reader.read() == b"old"
    assert target.read_bytes() == b"new and longer"


def test_a_missing_folder_is_named(tmp_path: Path) -> None:
    with pytest.raises(OnnxplainError, match=r"absent.out\.png: cannot be written"):
        save_png(tmp_path / "absent" / "out.png", photo((3, 3)))
