from __future__ import annotations

import tracemalloc
from collections.abc import Callable

import numpy as np
import pytest

from onnxplain.contract import Preprocessing
from onnxplain.errors import OnnxplainError, UnsupportedError
from onnxplain.explainers import RISE
from onnxplain.explainers.masked.masks import MaskGeometry
from onnxplain.explainers.rise.estimator import ESTIMATORS, Estimator
from onnxplain.explainers.rise.samplers import IndependentSampler
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
    pixels_chw: np.ndarray,
    target: int,
    bank: IndependentSampler,
    count: int,
) -> np.ndarray:
    """Petsiuk et al. 2018, equation 6, as one reads it, with 0 as the colour of masked pixels."""
    masks = bank.geometry.render(bank.draw(0, count)).astype(np.float64)
    total = np.zeros(masks.shape[1:])
    for mask in masks:
        copy = (pixels_chw * mask)[None].astype(np.float32)
        total += float(scores(copy)[0, target]) * mask
    return total / (bank.geometry.keep * count)


@pytest.mark.parametrize("target", [0, 1])
@pytest.mark.parametrize(("grid", "keep", "seed", "count"), [(8, 0.5, 0, 50), (5, 0.3, 7, 33), (3, 0.7, 2, 1)])
def test_the_papers_estimator_with_a_callable(target: int, grid: int, keep: float, seed: int, count: int) -> None:
    seen = []
    rise = RISE(
        lambda batch: (seen.append(batch), brightness(batch))[1],
        SIZE_HW, masks=count, grid=grid, keep=keep, seed=seed, estimator="paper", fill=(0, 0, 0),
    )  # fmt: skip
    explanation = rise(photo(), target)
    bank = IndependentSampler(MaskGeometry(SIZE_HW, grid, keep), seed)
    expected = direct_rise(brightness, seen[0][0], target, bank, count)
    np.testing.assert_allclose(explanation.raw, expected, atol=1e-5)
    assert explanation.raw.shape == SIZE_HW
    assert sum(len(batch) for batch in seen) == explanation.evaluations == count + 1
    assert explanation.prediction is None
    assert (explanation.target, explanation.target_name, explanation.layer) == (target, str(target), None)


@pytest.mark.parametrize("resize", ["stretch", "crop", "letterbox"])
def test_the_papers_estimator_with_an_engine(make_model: MakeModel, resize) -> None:
    preprocessing = Preprocessing(scale=1 / 255, mean=(0.5, 0.4, 0.3), std=(0.25,) * 3, resize=resize)
    engine = make_model(preprocessing=preprocessing).engine
    image = photo((70, 40))
    explanation = RISE(engine, masks=40, seed=3, estimator="paper")(image, "bee")
    bank = IndependentSampler(MaskGeometry(INPUT_SIZE_HW), seed=3)
    expected = direct_rise(engine.scores, engine.preprocess(image)[0], 1, bank, 40)
    np.testing.assert_allclose(explanation.raw, expected, atol=1e-5)
    assert explanation.score == pytest.approx(engine.predict(image)[0].scores[1])
    assert explanation.prediction.label == engine.predict(image)[0].label
    placed = explanation.frame.map_to_image(explanation.raw)
    visible = explanation.frame.map_to_image(np.ones((1, 1), np.float32)) > 0
    placed = (placed - placed[visible].min()) / np.ptp(placed[visible])
    np.testing.assert_allclose(explanation.heatmap[visible], placed[visible], atol=1e-5)
    assert not explanation.heatmap[~visible].any()


def test_one_image_the_same_alone_and_among_others(make_model: MakeModel) -> None:
    rise = RISE(make_model().engine, masks=20)
    images = [photo((30, 40), 1), photo((60, 20), 2)]
    for image, target, explanation in zip(images, [3, 0], rise(images, [3, 0]), strict=True):
        np.testing.assert_array_equal(explanation.heatmap, rise(image, target).heatmap)


@pytest.mark.parametrize("size_hw", [SIZE_HW, (7, 90), (2, 3), (1, 1)])
@pytest.mark.parametrize("estimator", ESTIMATORS)
def test_inputs_of_any_size(size_hw: tuple[int, int], estimator: str) -> None:
    explanation = RISE(lambda batch: batch.mean(axis=(2, 3)), size_hw, masks=80, estimator=estimator)(photo())
    assert explanation.raw.shape == explanation.report.standard_error.shape == size_hw
    assert explanation.status == ("constant" if size_hw == (1, 1) else "ok")


def test_several_targets_share_the_evaluations(make_model: MakeModel) -> None:
    engine = make_model().engine
    calls: list[tuple[int, int]] = []
    rise = RISE(engine, masks=100, progress=lambda *call: calls.append(call))
    together = rise.for_targets(photo(), ["ant", 2, None])
    assert calls[-1] == (100, 100)
    for target, explanation in zip(["ant", 2, None], together, strict=True):
        alone = RISE(engine, masks=100)(photo(), target)
        np.testing.assert_allclose(explanation.raw, alone.raw, rtol=1e-6)
        assert explanation.target == alone.target
        assert explanation.evaluations == 101


@pytest.mark.parametrize("estimator", ESTIMATORS)
def test_one_class_against_all_classes(make_model: MakeModel, estimator: str) -> None:
    engine = make_model(power=2).engine
    rise = RISE(engine, masks=500, estimator=estimator)
    maps = rise.all_classes(photo())
    assert maps.shape == (CLASSES, *INPUT_SIZE_HW)
    assert maps.dtype == np.float32
    for explanation in rise.for_targets(photo(), list(range(CLASSES))):
        # Fitted on all masks there, on the other replicates here: the same map within a part of its error.
        difference = np.abs(maps[explanation.target] - explanation.raw)
        assert (difference <= 1e-6 + explanation.report.standard_error * (estimator != "paper")).mean() > 0.99


@pytest.mark.parametrize("bound", [{"tolerance": 0.1}, {"budget_seconds": 3}])
def test_all_classes_take_all_masks(bound: dict[str, float]) -> None:
    with pytest.raises(OnnxplainError, match=f"^{next(iter(bound))}: found .* all classes"):
        RISE(brightness, SIZE_HW, **bound).all_classes(photo())


def test_the_memory_does_not_depend_on_the_number_of_masks() -> None:
    def peak(masks: int) -> int:
        rise = RISE(brightness, (64, 64), masks=masks)
        tracemalloc.start()
        rise(image, 0)
        _, most = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        return most

    image = photo((64, 64))
    peak(64)
    assert peak(1600) < peak(128) + 20_000, "a mask of 64 × 64 takes 16,384 bytes, a grid 64"


def test_progress_counts_masked_evaluations_over_all_images() -> None:
    calls: list[tuple[int, int]] = []
    RISE(brightness, SIZE_HW, masks=10, batch_size=4, progress=lambda *call: calls.append(call))([photo(), photo()])
    assert calls == [(4, 20), (8, 20), (10, 20), (14, 20), (18, 20), (20, 20)]


@pytest.mark.parametrize("estimator", ESTIMATORS)
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
        (lambda batch: np.zeros((1, 3)), r"returned shape \(1, 3\) for 8 images, expected \(8, C\)"),
        (lambda batch: np.full((len(batch), 3), np.nan), "returned NaN or infinity"),
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
        ({"estimator": "best"}, "^estimator: found 'best', expected an Estimator or one of paper, centred, sobol, "),
        ({"grid": 146}, "^grid: found 146"),
        ({"tolerance": 0}, "^tolerance: found 0"),
        ({"budget_seconds": -1.0}, "^budget_seconds: found -1.0"),
        ({"explain_output": "boxes"}, "^explain_output: found 'boxes'"),
        ({"fill": "median"}, "^fill: found 'median'"),
        ({"fill": (0, 0, 256)}, "^fill: found"),
        ({"fill": (1, 2)}, "^fill: found"),
        ({"input_size_hw": None}, "^input_size_hw: found None, expected"),
        ({"input_size_hw": (0, 5)}, "^input_size_hw: found"),
        ({"score_function": 3}, "^score function: found int, expected an Engine or a callable"),
    ],
)
def test_parameters_out_of_range_are_refused_at_construction(options: dict, message: str) -> None:
    with pytest.raises(OnnxplainError, match=message):
        RISE(**{"score_function": brightness, "input_size_hw": SIZE_HW, **options})


@pytest.mark.parametrize(
    ("parts", "message"),
    [
        ({"sampler": "halton"}, "^sampler: found 'halton'"),
        ({"centred": False}, "^control_variate: found True"),
        ({"control_variate": False, "log_linear": True}, "^log_linear: found True"),
    ],
)
def test_estimators_that_do_not_exist_are_refused(parts: dict, message: str) -> None:
    with pytest.raises(OnnxplainError, match=message):
        Estimator(**parts)


def test_estimators_say_what_they_are() -> None:
    assert [str(estimator) for estimator in ESTIMATORS.values()] == list(ESTIMATORS)
    assert str(Estimator("independent")) == "independent, centred, control variate"
    assert str(Estimator("sobol", centred=False, control_variate=False)) == "sobol"


def test_an_engine_knows_its_own_size(make_model: MakeModel) -> None:
    engine: Engine = make_model().engine
    RISE(engine, INPUT_SIZE_HW)
    with pytest.raises(OnnxplainError, match=r"^input_size_hw: found \(20, 33\), expected the engine's \(24, 32\)"):
        RISE(engine, SIZE_HW)
