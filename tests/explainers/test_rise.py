from __future__ import annotations

import tracemalloc
from collections.abc import Callable

import numpy as np
import pytest

from onnxplain.contract import Preprocessing
from onnxplain.errors import OnnxplainError, UnsupportedError
from onnxplain.explainers import RISE
from onnxplain.explainers.masks import RandomMasks
from onnxplain.runtime import Engine
from tests.explainers.tiny_model import CLASSES, INPUT_SIZE_HW, MakeModel

SIZE_HW = (20, 33)


def photo(size_hw: tuple[int, int] = (45, 70), seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (*size_hw, 3), dtype=np.uint8)


def brightness(batch_nchw: np.ndarray) -> np.ndarray:
    """Three classes: how bright the left half is, the right half, and a constant."""
    left, right = (half.mean(axis=(1, 2, 3)) / 255 for half in np.split(batch_nchw, [batch_nchw.shape[3] // 2], axis=3))
    return np.stack([left, right, np.full_like(left, 0.3)], axis=1)


def direct_rise(
    scores: Callable[[np.ndarray], np.ndarray],
    pixels_chw,
    hidden,
    target: int,
    bank: RandomMasks,
    count: int,
    estimator: str,
) -> np.ndarray:
    """Petsiuk et al. 2018, equation 6, as one reads it."""
    masks = bank.render(bank.draw(0, count)).astype(np.float64)
    answers = []
    for mask in masks:
        copy = pixels_chw * mask + hidden * (1 - mask)
        answers.append(float(scores(copy[None].astype(np.float32))[0, target]))
    centre = np.mean(answers) if estimator == "default" else 0.0
    total = sum((answer - centre) * mask for answer, mask in zip(answers, masks, strict=True))
    return total / (bank.keep * count)


@pytest.mark.parametrize("estimator", ["default", "paper"])
@pytest.mark.parametrize("target", [0, 1])
@pytest.mark.parametrize(("grid", "keep", "seed", "count"), [(8, 0.5, 0, 50), (5, 0.3, 7, 33), (3, 0.7, 2, 1)])
def test_a_callable_against_the_papers_formula(
    estimator, target: int, grid: int, keep: float, seed: int, count: int
) -> None:
    seen = []
    rise = RISE(
        lambda batch: (seen.append(batch), brightness(batch))[1],
        SIZE_HW, masks=count, grid=grid, keep=keep, seed=seed, estimator=estimator, fill=(0, 0, 0),
    )  # fmt: skip
    explanation = rise(photo(), target)
    bank = RandomMasks(SIZE_HW, grid, keep, seed)
    expected = direct_rise(brightness, seen[0][0], 0.0, target, bank, count, estimator)
    np.testing.assert_allclose(explanation.raw, expected, atol=1e-5)
    assert explanation.raw.shape == SIZE_HW
    assert sum(len(batch) for batch in seen) == explanation.evaluations == count + 1
    assert explanation.prediction is None
    assert (explanation.target, explanation.target_name, explanation.layer) == (target, str(target), None)


@pytest.mark.parametrize("resize", ["stretch", "crop", "letterbox"])
@pytest.mark.parametrize("estimator", ["default", "paper"])
def test_an_engine_against_the_papers_formula(make_model: MakeModel, resize, estimator) -> None:
    preprocessing = Preprocessing(scale=1 / 255, mean=(0.5, 0.4, 0.3), std=(0.25,) * 3, resize=resize)
    engine = make_model(preprocessing=preprocessing).engine
    image = photo((70, 40))
    explanation = RISE(engine, masks=40, seed=3, estimator=estimator)(image, "bee")
    expected = direct_rise(
        engine.scores, engine.preprocess(image)[0], 0.0, 1, RandomMasks(INPUT_SIZE_HW, seed=3), 40, estimator
    )
    np.testing.assert_allclose(explanation.raw, expected, atol=1e-5)
    assert explanation.score == pytest.approx(engine.predict(image)[0].scores[1])
    assert explanation.prediction.label == engine.predict(image)[0].label
    placed = explanation.frame.map_to_image(explanation.raw)
    visible = explanation.frame.map_to_image(np.ones((1, 1), np.float32)) > 0
    placed = (placed - placed[visible].min()) / np.ptp(placed[visible])
    np.testing.assert_allclose(explanation.heatmap[visible], placed[visible], atol=1e-5)
    assert not explanation.heatmap[~visible].any()


def test_the_default_estimator_is_the_papers_minus_mean_score_times_mean_mask() -> None:
    paper, default = (
        RISE(brightness, SIZE_HW, masks=60, estimator=name)(photo(), 0).raw.astype(float)
        for name in ("paper", "default")
    )
    bank = RandomMasks(SIZE_HW)
    masks = bank.render(bank.draw(0, 60))
    constant = RISE(lambda batch: brightness(batch) * 0 + 1, SIZE_HW, masks=60, estimator="paper")(photo(), 0).raw
    np.testing.assert_allclose(constant, masks.mean(axis=0) / 0.5, atol=1e-5)
    ratio = (paper - default) / constant
    np.testing.assert_allclose(ratio, ratio.mean(), rtol=1e-4)


@pytest.mark.parametrize("estimator", ["default", "paper"])
def test_the_batch_size_changes_nothing(estimator) -> None:
    results = [
        RISE(brightness, SIZE_HW, masks=37, batch_size=size, estimator=estimator)(photo(), 0)
        for size in (1, 5, 8, 37, 100)
    ]
    for result in results[1:]:
        np.testing.assert_allclose(result.raw, results[0].raw, rtol=1e-6, atol=1e-7)


def test_one_image_the_same_alone_and_among_others(make_model: MakeModel) -> None:
    rise = RISE(make_model().engine, masks=20)
    images = [photo((30, 40), 1), photo((60, 20), 2)]
    for image, target, explanation in zip(images, [3, 0], rise(images, [3, 0]), strict=True):
        np.testing.assert_array_equal(explanation.heatmap, rise(image, target).heatmap)


def test_heat_lies_where_the_score_comes_from_and_the_default_says_so_more_clearly() -> None:
    truth = np.zeros((40, 66))
    truth[:, 33:] = 1
    agreement = {}
    for estimator in ("default", "paper"):
        rise = RISE(brightness, SIZE_HW, masks=600, fill=(0, 0, 0), estimator=estimator)
        explanation = rise(np.full((40, 66, 3), 200, np.uint8), 1)
        agreement[estimator] = np.corrcoef(explanation.heatmap.ravel(), truth.ravel())[0, 1]
    assert agreement["default"] > 0.85
    assert agreement["default"] > agreement["paper"] > 0.5


FILES_MEAN = Preprocessing(scale=1 / 255, mean=(0.5, 0.4, 0.3), std=(0.25, 0.2, 0.5), resize="stretch")
BGR = Preprocessing("bgr", scale=1.0, mean=(104, 117, 123), resize="stretch")
RAW = Preprocessing(resize="stretch")
COLOUR = (10.0, 200.0, 30.0)


@pytest.mark.parametrize(
    ("preprocessing", "fill", "hidden"),
    [
        (FILES_MEAN, "mean", (0, 0, 0)),
        (BGR, "mean", (0, 0, 0)),
        (RAW, "mean", "own mean"),
        (RAW, COLOUR, COLOUR),
        (FILES_MEAN, COLOUR, ((10 / 255 - 0.5) / 0.25, (200 / 255 - 0.4) / 0.2, (30 / 255 - 0.3) / 0.5)),
        (BGR, COLOUR, (30 - 104, 200 - 117, 10 - 123)),
    ],
)
def test_what_a_masked_pixel_shows_to_an_engine(
    make_model: MakeModel, monkeypatch, preprocessing, fill, hidden
) -> None:
    engine = make_model(preprocessing=preprocessing).engine
    image = photo()
    if hidden == "own mean":
        hidden = np.rint(image.reshape(-1, 3).mean(axis=0))
    batches = []
    scores = engine.scores
    monkeypatch.setattr(engine, "scores", lambda batch: (batches.append(batch), scores(batch))[1])
    RISE(engine, masks=16, fill=fill)(image)
    bank = RandomMasks(INPUT_SIZE_HW)
    for masks, batch in zip([bank.render(bank.draw(0, 8)), bank.render(bank.draw(8, 16))], batches[1:], strict=True):
        expected = engine.preprocess(image) * masks[:, None] + np.reshape(hidden, (1, 3, 1, 1)) * (1 - masks[:, None])
        np.testing.assert_allclose(batch, expected, rtol=1e-4, atol=1e-3)


@pytest.mark.parametrize("fill", ["mean", COLOUR])
def test_what_a_masked_pixel_shows_to_a_callable(fill) -> None:
    image, batches = photo(SIZE_HW), []
    RISE(lambda batch: (batches.append(batch), brightness(batch))[1], SIZE_HW, masks=4, fill=fill)(image)
    hidden = image.reshape(-1, 3).mean(axis=0) if fill == "mean" else np.array(fill)
    bank = RandomMasks(SIZE_HW)
    masks = bank.render(bank.draw(0, 4))[:, None]
    np.testing.assert_array_equal(batches[0][0], image.transpose(2, 0, 1))
    expected = batches[0] * masks + hidden.reshape(1, 3, 1, 1) * (1 - masks)
    np.testing.assert_allclose(batches[1], expected, rtol=1e-4, atol=1e-3)
    assert batches[1].dtype == np.float32


def test_the_memory_does_not_depend_on_the_number_of_masks() -> None:
    def peak(masks: int) -> int:
        rise = RISE(brightness, (64, 64), masks=masks)
        tracemalloc.start()
        rise(image, 0)
        _, most = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        return most

    image = photo((64, 64))
    peak(8)
    assert peak(400) < peak(16) + 20_000, "a mask of 64 × 64 takes 16,384 bytes"


def test_progress_counts_masked_evaluations_over_all_images() -> None:
    calls: list[tuple[int, int]] = []
    RISE(brightness, SIZE_HW, masks=10, batch_size=4, progress=lambda *call: calls.append(call))([photo(), photo()])
    assert calls == [(4, 20), (8, 20), (10, 20), (14, 20), (18, 20), (20, 20)]


@pytest.mark.parametrize("estimator", ["default", "paper"])
def test_scores_that_no_mask_changes_give_a_constant_map(estimator) -> None:
    explanation = RISE(brightness, SIZE_HW, masks=30, estimator=estimator)(photo(), 2)
    assert explanation.status == "constant"
    assert not explanation.heatmap.any()
    assert len(explanation.boxes()) == 0


def test_one_mask_is_enough_to_run() -> None:
    assert RISE(brightness, SIZE_HW, masks=1)(photo(), 0).status == "constant"


def test_an_engine_that_gives_nan_is_told_apart(make_model: MakeModel) -> None:
    engine = make_model(weights=np.full((CLASSES, 5), np.nan)).engine
    explanation = RISE(engine, masks=4)(photo(), 1)
    assert explanation.status == "non_finite"
    assert not explanation.heatmap.any()


def test_box_coordinates_are_refused_before_anything_runs(make_model: MakeModel) -> None:
    calls: list[tuple[int, int]] = []
    rise = RISE(make_model(box=True).engine, masks=8, progress=lambda *call: calls.append(call))
    with pytest.raises(UnsupportedError, match=r"^rise: found target box:1, expected a class.*grad-cam"):
        rise([photo(), photo()], [0, "box:1"])
    assert not calls


def broken(batch: np.ndarray) -> np.ndarray:
    raise RuntimeError("out of memory")


@pytest.mark.parametrize(
    ("function", "message"),
    [
        (broken, r"raised RuntimeError \(out of memory\) for float32 \(1, 3, 20, 33\)"),
        (lambda batch: None, r"returned shape \(\) for 1 images"),
        (lambda batch: ["a", "b"], "raised ValueError"),
        (lambda batch: np.zeros(len(batch)), r"returned shape \(1,\) for 1 images, expected \(1, C\)"),
        (lambda batch: np.zeros((len(batch), 3, 1)), r"returned shape \(1, 3, 1\)"),
        (lambda batch: np.zeros((len(batch), 0)), r"returned shape \(1, 0\)"),
        (lambda batch: np.zeros((1, 3)), r"returned shape \(1, 3\) for 8 images, expected \(8, C\)"),
        (lambda batch: np.full((len(batch), 3), np.nan), "returned NaN or infinity"),
        (lambda batch: np.full((len(batch), 3), np.inf), "returned NaN or infinity"),
    ],
)
def test_a_callable_that_misbehaves_is_told_how(function, message: str) -> None:
    with pytest.raises(OnnxplainError, match=f"^score function: {message}"):
        RISE(function, SIZE_HW, masks=8)(photo())


@pytest.mark.parametrize("target", ["cat", -2, 3, "5", 1.5, True, "box:0"])
def test_a_callables_target_is_an_index_that_exists(target) -> None:
    with pytest.raises(OnnxplainError, match=f"^target: found '?{target}'?"):
        RISE(brightness, SIZE_HW, masks=8)(photo(), target)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"masks": 0}, "^masks: found 0, expected at least 1"),
        ({"masks": -3}, "^masks: found -3"),
        ({"batch_size": 0}, "^batch_size: found 0"),
        ({"grid": 0}, "^grid: found 0"),
        ({"keep": 0}, "^keep: found 0"),
        ({"seed": -1}, "^seed: found -1"),
        ({"estimator": "sobol"}, "^estimator: found 'sobol', expected one of default, paper"),
        ({"fill": "blur"}, "^fill: found 'blur', expected \"mean\" or a colour"),
        ({"fill": (0, 0, 256)}, "^fill: found"),
        ({"fill": (1, 2)}, "^fill: found"),
        ({"input_size_hw": None}, "^input_size_hw: missing, expected"),
        ({"input_size_hw": (0, 5)}, "^input_size_hw: found"),
        ({"score_function": 3}, "^score function: found int, expected an Engine or a callable"),
    ],
)
def test_parameters_out_of_range_are_refused_at_construction(options: dict, message: str) -> None:
    with pytest.raises(OnnxplainError, match=message):
        RISE(**{"score_function": brightness, "input_size_hw": SIZE_HW, **options})


def test_an_engine_knows_its_own_size(make_model: MakeModel) -> None:
    engine: Engine = make_model().engine
    RISE(engine, INPUT_SIZE_HW)
    with pytest.raises(OnnxplainError, match=r"^input_size_hw: found \(20, 33\), the engine's is \(24, 32\)"):
        RISE(engine, SIZE_HW)
