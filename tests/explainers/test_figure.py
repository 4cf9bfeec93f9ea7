from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageDraw

from onnxplain.explainers.drawing import text
from onnxplain.explainers.drawing.figure import Figure, hatch_unseen
from onnxplain.explainers.drawing.marks import Mark, annotate
from onnxplain.explainers.drawing.sheet import save_png
from onnxplain.explainers.drawing.text import fit_text, set_text
from tests.explainers.test_render import heat, photo

WHOLE = (slice(None), slice(None))
CROPPED = (slice(60, 420), slice(0, 300))
TITLE = ("tiger cat · 0.93", "grad-cam at features/denseblock4/denselayer16", "preprocessing assumed: resize")
SCALE = ("0", "gradient · activation", "1.32")


def rows_of(picture: np.ndarray, photo_hwc: np.ndarray) -> int:
    """The row at which the photo begins in a picture of the same width."""
    return next(
        row
        for row in range(len(picture) - len(photo_hwc) + 1)
        if np.array_equal(picture[row : row + len(photo_hwc)], photo_hwc)
    )


@pytest.mark.parametrize("size_hw", [(480, 480), (700, 500), (500, 1400)])
def test_without_heat_the_photo_is_whole_between_title_and_bar(size_hw: tuple[int, int]) -> None:
    image = photo(size_hw)
    picture = Figure(TITLE, WHOLE, scale=SCALE).draw(image, np.zeros(size_hw, np.float32))
    top = rows_of(picture, image)
    assert picture.shape[1] == size_hw[1]
    for part in (picture[:top], picture[top + size_hw[0] :]):
        assert len(part) > 20
        assert (part < 90).all(axis=-1).any(), "dark letters on white"


def test_what_the_model_did_not_see_is_hatched_and_not_coloured() -> None:
    image, size_hw = np.full((480, 480, 3), 120, np.uint8), (480, 480)
    heatmap = np.zeros(size_hw, np.float32)
    heatmap[CROPPED] = 1
    picture = Figure((), CROPPED).draw(image, heatmap)
    outside = np.ones(size_hw, bool)
    outside[CROPPED] = False
    greys = picture[outside]
    assert (np.ptp(greys.astype(int), axis=1) == 0).all(), "no colour"
    assert 0.02 < (greys != 120).any(axis=1).mean() < 0.4, "thin lines"
    inside = picture[65:415, 5:295].astype(int)
    assert (np.ptp(inside, axis=-1) > 20).all(), "coloured"


@pytest.mark.parametrize("window", [WHOLE, (slice(0, 480), slice(0, 480)), (slice(0, 0), slice(0, 0))], ids=str)
def test_hatching_leaves_its_argument_alone(window: tuple[slice, slice]) -> None:
    image = photo((480, 480))
    before = image.copy()
    hatched = hatch_unseen(image, window)
    np.testing.assert_array_equal(image, before)
    assert np.array_equal(hatched, image) == (window[0].stop in (None, 480))


@pytest.mark.parametrize("size_hw", [(64, 64), (64, 200), (4000, 3000), (1, 1), (300, 9)])
def test_titles_do_not_overlap(size_hw: tuple[int, int]) -> None:
    """Each line of the title has rows of its own: between them there are rows without letters."""
    image = np.full((*size_hw, 3), 0, np.uint8)
    picture = Figure(("Hg" * 3, "Hg" * 3, "Hg" * 3), WHOLE).draw(image, np.zeros(size_hw, np.float32))
    black = (picture[:, :, 0] == 0).all(axis=1)
    first = int(np.argmax(black)) if black.any() else len(picture)
    inked = (picture[:first] < 128).any(axis=(1, 2))
    lines = int(np.count_nonzero(np.diff(inked.astype(int), prepend=0) == 1))
    assert lines == (3 if picture.shape[1] >= 60 else lines)
    assert not inked[:1].any()


def test_a_dashed_box_has_gaps_and_a_plain_one_none() -> None:
    image = np.full((500, 500, 3), 90, np.uint8)
    box = (100.0, 150.0, 400.0, 350.0)
    plain, dashed = (annotate(image, [Mark(box, dashed=is_dashed)]) != 90 for is_dashed in (False, True))
    along = slice(110, 390)
    assert plain[152, along].any(axis=-1).all()
    assert 0.3 < dashed[152, along].any(axis=-1).mean() < 0.8
    rows, columns = np.flatnonzero(dashed.any(axis=(1, 2))), np.flatnonzero(dashed.any(axis=(0, 2)))
    assert (columns[0], rows[0]) == (100, 150)


@pytest.mark.parametrize("letters", ["cat", "größer", "кошка", "γάτα", "çà", "≥ 15 %"])
def test_letters_are_drawn_by_a_font_that_has_them_or_as_code_points(letters: str) -> None:
    line = set_text(letters, 20)
    shown = "".join(run for run, _ in line.runs)
    for run, font in line.runs:
        assert all(text._has(font, letter) for letter in run)
    assert shown == letters or "U+" in shown


def test_a_letter_that_no_font_has_is_named() -> None:
    shown = "".join(run for run, _ in set_text("a\U0010ffffb", 20).runs)
    assert shown == "aU+10FFFFb"


@pytest.mark.parametrize("width", [5, 30, 100, 400])
def test_text_fits(width: int) -> None:
    line = fit_text("a label that is rather long", width, 24)
    assert line.width <= width
    canvas = Image.new("RGB", (width, 40), (255, 255, 255))
    line.draw(ImageDraw.Draw(canvas), 0, 20, (0, 0, 0))


def test_texts_are_written_into_the_file(tmp_path: Path) -> None:
    texts = {"onnxplain": '{"label": "größer ≥ 猫"}', "Software": "onnxplain"}
    save_png(tmp_path / "a.png", photo((5, 7)), texts)
    with Image.open(tmp_path / "a.png") as read:
        assert np.array_equal(np.asarray(read), photo((5, 7)))
        assert {name: str(read.info[name]) for name in texts} == texts


def test_the_hottest_pixel_of_a_shared_scale_is_less_hot() -> None:
    from onnxplain.explainers.drawing.figure import HeatStyle

    image, heatmap = np.full((480, 480, 3), 120, np.uint8), heat((480, 480))
    alone, shared = (
        Figure((), WHOLE, style=HeatStyle("inferno", 0.7, largest)).draw(image, heatmap) for largest in (1.0, 0.5)
    )
    np.testing.assert_array_equal(
        shared, Figure((), WHOLE, style=HeatStyle("inferno", 0.7)).draw(image, heatmap * np.float32(0.5))
    )
    assert not np.array_equal(alone, shared)
