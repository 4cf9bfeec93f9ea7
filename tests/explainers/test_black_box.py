from __future__ import annotations

import re

import numpy as np
import pytest
from scipy.ndimage import gaussian_filter

from onnxplain.contract import GRAY_PRESETS, Preprocessing
from onnxplain.errors import OnnxplainError, UnsupportedError
from onnxplain.explainers.masked.fill import fill_pixels
from onnxplain.explainers.masked.open_black_box import open_black_box
from onnxplain.runtime import make_frame
from onnxplain.runtime.preprocess import warp_image
from tests.explainers.tiny_model import INPUT_SIZE_HW, LABELS, MakeModel
from tests.position_model import open_position_model

SIZE_HW = (20, 33)
PHOTO = np.random.default_rng(0).integers(0, 256, (45, 70, 3), np.uint8)
MEAN = PHOTO.reshape(-1, 3).mean(axis=0)
COLOUR = (10.0, 200.0, 30.0)

FILES_MEAN = Preprocessing(scale=1 / 255, mean=(0.5, 0.4, 0.3), std=(0.25, 0.2, 0.5), resize="stretch")
BGR = Preprocessing("bgr", scale=1.0, mean=(104, 117, 123), resize="stretch")
RAW = Preprocessing(resize="stretch")


def flat(batch_nchw: np.ndarray) -> np.ndarray:
    return batch_nchw.mean(axis=(2, 3))


@pytest.mark.parametrize(
    ("preprocessing", "fill", "hidden"),
    [
        (FILES_MEAN, "mean", (0, 0, 0)),
        (BGR, "mean", (0, 0, 0)),
        (RAW, "mean", np.rint(MEAN)),
        (RAW, COLOUR, COLOUR),
        (FILES_MEAN, COLOUR, ((10 / 255 - 0.5) / 0.25, (200 / 255 - 0.4) / 0.2, (30 / 255 - 0.3) / 0.5)),
        (BGR, COLOUR, (30 - 104, 200 - 117, 10 - 123)),
    ],
)
def test_the_colour_of_a_masked_pixel_for_an_engine(make_model: MakeModel, preprocessing, fill, hidden) -> None:
    view = open_black_box(make_model(preprocessing=preprocessing).engine, None, fill).look(PHOTO)
    assert view.hidden.shape == (3, 1, 1)
    np.testing.assert_allclose(view.hidden.ravel(), hidden, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize(("fill", "hidden"), [("mean", MEAN), (COLOUR, COLOUR)])
def test_the_colour_of_a_masked_pixel_for_a_callable(fill, hidden) -> None:
    view = open_black_box(flat, SIZE_HW, fill).look(PHOTO)
    np.testing.assert_allclose(view.hidden.ravel(), hidden, rtol=1e-6)


def blurred(size_hw: tuple[int, int]) -> np.ndarray:
    """The stretched photo under a Gaussian of a twentieth of the shorter side, cut off at three of them."""
    warped = warp_image(PHOTO, make_frame(PHOTO.shape[:2], size_hw, "stretch")).astype(float)
    sigma = min(size_hw) / 20
    return np.stack([gaussian_filter(warped[..., c], sigma, mode="mirror", truncate=3.0) for c in range(3)])


@pytest.mark.parametrize("size_hw", [(60, 100), (24, 32)])
def test_a_blurred_image_hides_behind_a_callable(size_hw) -> None:
    view = open_black_box(flat, size_hw, "blur").look(PHOTO)
    assert view.hidden.shape == view.pixels.shape == (3, *size_hw)
    np.testing.assert_allclose(view.hidden, blurred(size_hw), atol=1.5)
    assert np.abs(view.hidden - view.pixels).mean() > 5


@pytest.mark.parametrize("preprocessing", [FILES_MEAN, BGR, RAW])
def test_a_blurred_image_hides_behind_an_engine_in_its_own_terms(make_model: MakeModel, preprocessing) -> None:
    view = open_black_box(make_model(preprocessing=preprocessing).engine, None, "blur").look(PHOTO)
    order = [2, 1, 0] if preprocessing.channels == "bgr" else [0, 1, 2]
    mean, std = (np.reshape(values, (3, 1, 1)) for values in (preprocessing.mean, preprocessing.std))
    expected = (blurred(INPUT_SIZE_HW)[order] * preprocessing.scale - mean) / std
    np.testing.assert_allclose(view.hidden, expected, atol=1.5 * preprocessing.scale / min(preprocessing.std))


def test_a_blur_of_a_tiny_input_changes_nothing() -> None:
    warped = PHOTO[:3, :4]
    np.testing.assert_allclose(fill_pixels("blur", PHOTO, warped), warped, atol=1)


def test_what_hides_from_a_grey_model_is_grey(tmp_path) -> None:
    engine = open_position_model(tmp_path / "model.onnx", preprocessing=GRAY_PRESETS["raw"])
    assert open_black_box(engine, None, COLOUR).look(PHOTO).hidden.shape == (1, 1, 1)
    assert open_black_box(engine, None, "blur").look(PHOTO).hidden.shape == (1, *engine.spec.input.size_hw)


@pytest.mark.parametrize("fill", ["median", "Blur", (0, 0, 256), (-1, 0, 0), (1, 2), 7, ()])
def test_an_unknown_fill_is_refused(fill) -> None:
    message = (
        f'^fill: found .*{re.escape(repr(fill) if fill else "of 0")}, expected "mean", "blur", "inpaint", a colour'
    )
    with pytest.raises(OnnxplainError, match=message):
        open_black_box(flat, SIZE_HW, fill)


def broken(batch: np.ndarray) -> np.ndarray:
    raise RuntimeError("out of memory")


@pytest.mark.parametrize(
    ("function", "message"),
    [
        (broken, r"raised RuntimeError \(out of memory\) for float32 \(8, 3, 20, 33\)"),
        (lambda batch: None, r"returned shape \(\) for 8 images"),
        (lambda batch: ["a", "b"], "raised ValueError"),
        (lambda batch: np.zeros(len(batch)), r"returned shape \(8,\) for 8 images, expected \(8, C\)"),
        (lambda batch: np.zeros((len(batch), 3, 1)), r"returned shape \(8, 3, 1\)"),
        (lambda batch: np.zeros((len(batch), 0)), r"returned shape \(8, 0\)"),
        (lambda batch: np.zeros((1, 3)), r"returned shape \(1, 3\) for 8 images, expected \(8, C\)"),
        (lambda batch: np.full((len(batch), 3), np.nan), "returned NaN or infinity"),
        (lambda batch: np.full((len(batch), 3), np.inf), "returned NaN or infinity"),
    ],
)
def test_a_callable_that_misbehaves_is_told_how(function, message: str) -> None:
    box = open_black_box(function, SIZE_HW, "mean")
    with pytest.raises(OnnxplainError, match=f"^score function: {message}"):
        box.scores(np.zeros((8, 3, *SIZE_HW), np.float32))


@pytest.mark.parametrize(("target", "index"), [(None, -1), (-1, -1), (0, 0), ("12", 12), (np.int64(3), 3)])
def test_a_callables_target_is_an_index(target, index) -> None:
    assert open_black_box(flat, SIZE_HW, "mean").aim(target).index == index


@pytest.mark.parametrize("target", ["cat", -2, 1.5, True, "box:0"])
def test_anything_else_is_no_target_of_a_callable(target) -> None:
    with pytest.raises(OnnxplainError, match=f"^target: found '?{target}'?"):
        open_black_box(flat, SIZE_HW, "mean").aim(target)


def test_labels_and_predictions(make_model: MakeModel) -> None:
    three = open_black_box(lambda batch: np.eye(3)[[1] * len(batch)], SIZE_HW, "mean")
    for box, label in ((open_black_box(make_model().engine, None, "mean"), LABELS[1]), (three, "1")):
        view = box.look(PHOTO)
        whole = box.see_whole(view)
        (placed,) = box.place([box.aim(1)], view, whole)
        described = box.describe(placed, view, whole)
        assert (described.target, described.label, described.name) == (1, label, label)
        assert (
            (described.prediction is None) == (described.answers is None) == (described.head is None) == (box is three)
        )


def test_the_box_is_explained_where_there_is_one(make_model: MakeModel) -> None:
    assert open_black_box(make_model(box=True).engine, None, "mean", "box").explained_output().output_names == [
        "logits",
        "box",
    ]
    assert open_black_box(make_model(box=True).engine, None, "mean").explained_output().output_names == ["logits"]
    with pytest.raises(
        UnsupportedError, match=r'^explain_output: found "box" for .*\.onnx without a box head, expected'
    ):
        open_black_box(make_model().engine, None, "mean", "box")
    with pytest.raises(UnsupportedError, match=r'^explain_output: found "box" for a callable, expected "score"'):
        open_black_box(flat, SIZE_HW, "mean", "box")


@pytest.mark.parametrize("explain_output", ["boxes", None, ""])
def test_an_unknown_output_is_refused(make_model: MakeModel, explain_output) -> None:
    for black_box in (flat, make_model(box=True).engine):
        with pytest.raises(OnnxplainError, match=r"^explain_output: found .*, expected one of score, box"):
            open_black_box(black_box, None, "mean", explain_output)


@pytest.mark.parametrize(
    ("function", "size_hw", "message"),
    [
        (3, SIZE_HW, "^score function: found int, expected an Engine or a callable"),
        (flat, None, "^input_size_hw: found None, expected"),
        (flat, (0, 5), "^input_size_hw: found"),
        (flat, (3, 4, 5), "^input_size_hw: found"),
    ],
)
def test_what_is_no_black_box_is_refused(function, size_hw, message) -> None:
    with pytest.raises(OnnxplainError, match=message):
        open_black_box(function, size_hw, "mean")


def test_an_engine_knows_its_own_size(make_model: MakeModel) -> None:
    engine = make_model().engine
    assert open_black_box(engine, INPUT_SIZE_HW, "mean").input_size_hw == INPUT_SIZE_HW
    with pytest.raises(OnnxplainError, match=r"^input_size_hw: found \(20, 33\), expected the engine's \(24, 32\)"):
        open_black_box(engine, SIZE_HW, "mean")
