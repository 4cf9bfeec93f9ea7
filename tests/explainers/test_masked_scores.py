from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from onnxplain.contract import GRAY_PRESETS
from onnxplain.errors import ModelError
from onnxplain.explainers.masked import copy_maker
from onnxplain.explainers.masked.black_box import View
from onnxplain.explainers.masked.masked_scores import MaskedScores, open_masked_scores
from onnxplain.explainers.masked.masks import MaskDraw, MaskGeometry
from onnxplain.explainers.masked.open_black_box import open_black_box
from onnxplain.runtime import Engine
from tests.explainers.tiny_model import MakeModel
from tests.models import ExplainableModel
from tests.position_model import BYTE_INPUT, CLASSES, DTYPES, LAYOUTS, open_position_model

PHOTO = np.random.default_rng(3).integers(0, 256, (31, 44, 3), np.uint8)
FILLS = ("mean", "blur", (250.0, 3.0, 90.0))
MAKERS = {"host": copy_maker.make_on_host, "device": copy_maker.make_on_device}


def draw_masks(geometry: MaskGeometry, count: int, seed: int = 0) -> MaskDraw:
    rng = np.random.default_rng(seed)
    grids = rng.random((count, geometry.grid, geometry.grid)) < geometry.keep
    return MaskDraw(grids, rng.integers(0, geometry.cell_hw, (count, 2)))


def masked_copies(view: View, masks_nhw: np.ndarray) -> np.ndarray:
    """The paper's image ⊙ mask, with the fill where the paper has black."""
    masks = masks_nhw[:, None].astype(np.float64)
    return (view.pixels * masks + view.hidden * (1 - masks)).astype(np.float32)


def open_scores(
    engine: Engine, fill="mean", batch_size: int | None = None, **options
) -> tuple[MaskedScores, View, MaskGeometry]:
    black_box = open_black_box(engine, None, fill, **options)
    view, geometry = black_box.look(PHOTO), MaskGeometry(black_box.input_size_hw, grid=5, keep=0.4)
    return open_masked_scores(black_box, view, geometry, batch_size), view, geometry


# A uint8 pixel may be rounded to the other side of a half: 1/255 of one of 858 inputs.
TOLERANCES = {"float32": 1e-6, "float64": 1e-6, "float16": 1e-4, "uint8": 1e-3}


@pytest.mark.parametrize(
    ("dtype", "route"),
    [(dtype, route) for dtype in DTYPES for route in MAKERS if (dtype, route) != ("float64", "device")],
)
@pytest.mark.parametrize("batch", ["N", 1, 3])
@pytest.mark.parametrize("layout", LAYOUTS)
def test_an_engines_scores_are_those_of_its_masked_copies(tmp_path, monkeypatch, dtype, layout, batch, route) -> None:
    for name in MAKERS:
        monkeypatch.setattr(copy_maker, f"make_on_{name}", MAKERS[route])
    engine = open_position_model(tmp_path / "model.onnx", dtype=dtype, layout=layout, batch=batch)
    for fill in FILLS:
        scores, view, geometry = open_scores(engine, fill)
        np.testing.assert_array_equal(scores.unmasked, engine.scores(view.pixels[None])[0])
        for count in (1, 7, 40):
            draw = draw_masks(geometry, count, seed=count)
            found = scores(draw)
            assert (found.dtype, found.shape) == (np.float32, (count, CLASSES))
            expected = engine.scores(masked_copies(view, geometry.render(draw)))
            np.testing.assert_allclose(found, expected, atol=TOLERANCES[dtype])
            assert np.ptp(found[:, 0]) > 20 * TOLERANCES[dtype] or count == 1, "masks must matter for this test"


@pytest.mark.parametrize("size_hw", [(1, 1), (3, 2), (9, 70)])
@pytest.mark.parametrize("layout", LAYOUTS)
def test_inputs_smaller_than_the_grid_and_long_ones(tmp_path, layout, size_hw) -> None:
    engine = open_position_model(tmp_path / "model.onnx", layout=layout, size_hw=size_hw)
    scores, view, geometry = open_scores(engine, "blur")
    draw = draw_masks(geometry, 9)
    expected = engine.scores(masked_copies(view, geometry.render(draw)))
    np.testing.assert_allclose(scores(draw), expected, atol=1e-6)


@pytest.mark.parametrize("fill", FILLS)
@pytest.mark.parametrize("layout", LAYOUTS)
def test_a_grey_model(tmp_path, layout, fill) -> None:
    engine = open_position_model(tmp_path / "model.onnx", layout=layout, preprocessing=GRAY_PRESETS["imagenet"])
    scores, view, geometry = open_scores(engine, fill)
    draw = draw_masks(geometry, 9)
    expected = engine.scores(masked_copies(view, geometry.render(draw)))
    np.testing.assert_allclose(scores(draw), expected, atol=1e-6)


@pytest.mark.parametrize("batch_size", [1, 2, 5, 16, 50])
def test_the_batch_size_is_kept_and_changes_nothing(tmp_path, monkeypatch, batch_size) -> None:
    engine = open_position_model(tmp_path / "model.onnx")
    _, _, geometry = open_scores(engine)
    draw = draw_masks(geometry, 23)
    expected = open_scores(engine, batch_size=8)[0](draw)
    counts = []
    scores, _, _ = open_scores(engine, batch_size=batch_size)
    run = scores._bound.run
    monkeypatch.setattr(scores._bound, "run", lambda count: (counts.append(count), run(count))[1])
    np.testing.assert_allclose(scores(draw), expected, atol=1e-6)
    assert sum(counts) == 23
    assert max(counts) == min(batch_size, 23)
    assert scores.masks_at_once % batch_size == 0


def test_a_batch_too_large_for_the_memory_is_taken_in_smaller_ones(tmp_path, monkeypatch) -> None:
    engine = open_position_model(tmp_path / "model.onnx")
    scores, _, geometry = open_scores(engine)
    draw, counts, run = draw_masks(geometry, 200), [], scores._bound.run
    expected = open_scores(engine, batch_size=1)[0](draw)

    def fail_above_one(count: int) -> None:
        counts.append(count)
        if count > 1:
            raise ModelError("out of memory")
        run(count)

    monkeypatch.setattr(scores._bound, "run", fail_above_one)
    np.testing.assert_allclose(scores(draw), expected, atol=1e-6)
    assert sorted(counts) == [1] * 200 + [2]
    asked, _, _ = open_scores(engine, batch_size=5)
    monkeypatch.setattr(asked._bound, "run", fail_above_one)
    with pytest.raises(ModelError, match="out of memory"):
        asked(draw)


@pytest.mark.parametrize("count", [1, 4, 9])
def test_a_fixed_batch_is_padded_and_the_padding_dropped(tmp_path, count) -> None:
    fixed, free = (open_position_model(tmp_path / f"{batch}.onnx", batch=batch) for batch in (4, "N"))
    draw = draw_masks(open_scores(free)[2], count)
    np.testing.assert_allclose(open_scores(fixed, batch_size=7)[0](draw), open_scores(free)[0](draw), atol=1e-6)


def test_an_explainable_file_is_scored_with_its_gates_closed(tmp_path) -> None:
    for required_inputs in (False, True):
        path = ExplainableModel().write(tmp_path / "model.onnx", required_inputs=required_inputs)
        engine = Engine(path)
        scores, view, geometry = open_scores(engine, (0.0, 0.0, 0.0))
        draw = draw_masks(geometry, 5)
        expected = engine.scores(masked_copies(view, geometry.render(draw)))
        np.testing.assert_allclose(scores(draw), expected, rtol=1e-5)


def iou(box: np.ndarray, other: np.ndarray) -> float:
    width, height = (min(box[i + 2], other[i + 2]) - max(box[i], other[i]) for i in (0, 1))
    shared = max(width, 0) * max(height, 0)
    areas = [(corners[2] - corners[0]) * (corners[3] - corners[1]) for corners in (box, other)]
    return shared / (sum(areas) - shared)


def corners(cx: float, cy: float, w: float, h: float) -> np.ndarray:
    return np.array([cx - abs(w) / 2, cy - abs(h) / 2, cx + abs(w) / 2, cy + abs(h) / 2])


def test_the_box_as_score_against_a_loop(make_model: MakeModel) -> None:
    engine = make_model(box=True, power=2).engine
    scores, view, geometry = open_scores(engine, explain_output="box")
    draw = draw_masks(geometry, 30)
    expected = []
    (whole,) = engine.run(view.pixels[None], ["box"])[0]
    for mask in geometry.render(draw):
        copy = masked_copies(view, mask[None])
        (box,) = engine.run(copy, ["box"])[0]
        expected.append(engine.scores(copy)[0] * iou(corners(*box), corners(*whole)))
    np.testing.assert_allclose(scores(draw), expected, atol=1e-5)
    np.testing.assert_array_equal(scores.unmasked, engine.scores(view.pixels[None])[0])
    plain = open_scores(engine)[0](draw)
    assert np.abs(plain - expected).max() > 0.05, "the box must matter for this test"


Batches = list[np.ndarray]


def recording(batches: Batches) -> Callable[[np.ndarray], np.ndarray]:
    """Two scores, both of the red channel; every batch is kept."""
    return lambda batch: (batches.append(batch), np.stack([batch[:, 0].mean((1, 2)), batch[:, 0, 2, 1]], axis=1))[1]


@pytest.mark.parametrize("fill", FILLS)
def test_a_callable_sees_masked_copies_in_arrays_of_its_own(fill) -> None:
    batches: Batches = []
    black_box = open_black_box(recording(batches), (13, 22), fill)
    view, geometry = black_box.look(PHOTO), MaskGeometry((13, 22))
    scores = open_masked_scores(black_box, view, geometry, 4)
    draw = draw_masks(geometry, 10)
    found = scores(draw)
    copies = masked_copies(view, geometry.render(draw))
    assert [batch.shape for batch in batches] == [(count, 3, 13, 22) for count in (1, 4, 4, 2)]
    assert all(batch.dtype == np.float32 for batch in batches)
    np.testing.assert_array_equal(batches[0][0], view.pixels)
    np.testing.assert_allclose(np.concatenate(batches[1:]), copies, atol=1e-3)
    np.testing.assert_allclose(found[:, 1], copies[:, 0, 2, 1], atol=1e-3)
    np.testing.assert_array_equal(scores.unmasked, recording([])(view.pixels[None])[0])


def test_a_callable_gets_eight_copies_at_a_time_unless_told_otherwise() -> None:
    batches: Batches = []
    black_box = open_black_box(recording(batches), (13, 22), "mean")
    geometry = MaskGeometry((13, 22))
    scores = open_masked_scores(black_box, black_box.look(PHOTO), geometry, None)
    scores(draw_masks(geometry, 17))
    assert [len(batch) for batch in batches] == [1, 8, 8, 1]
    assert scores.masks_at_once == 8


def test_a_uint8_model_hides_behind_what_it_can_show(tmp_path) -> None:
    """A colour beyond 0–255 of its own scale cannot be fed to it, so masks fade to the nearest that can."""
    stretched = type(BYTE_INPUT)(scale=1.2, mean=(0.0,) * 3, std=(1.0,) * 3, resize="stretch")
    engine = open_position_model(tmp_path / "model.onnx", dtype="uint8", preprocessing=stretched)
    scores, view, geometry = open_scores(engine, (255.0, 0.0, 255.0))
    seen = View(view.pixels.clip(0, 255), view.hidden.clip(0, 255), view.frame)
    draw = draw_masks(geometry, 9)
    np.testing.assert_allclose(
        scores(draw), engine.scores(masked_copies(seen, geometry.render(draw))), atol=TOLERANCES["uint8"]
    )
